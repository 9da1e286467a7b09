"""The report of a transfer of rates: what a large model loses by the best rate of a small one.

A size's best rate is the vertex of the parabola in the log of the rate through the best of its grid
and its neighbours. Intervals come from resampling the seeds of both sizes.
"""

from lm_lab.report import formatting
from lm_lab.report.analyses.transfer import drawing
from lm_lab.report.analyses.transfer.results import Results, Settings, Transfer, analyse, check
from lm_lab.report.contract import Analysis
from lm_lab.report.page import Figure, Headline, Notice, Number, Report, Section, Table
from lm_lab.report.stored import Sweep
from lm_lab.scaling.records import Estimate


def report(results: Results, sweep: Sweep) -> Report:
    """The answer for each model and size, the figures and the table."""
    del sweep
    sections = [
        Section("Evidence", [_lost_figure(results), _curves_figure(results)]),
        Section("All transfers", [_table(results)]),
    ]
    if notices := _cautions(results):
        sections.insert(0, Section("Cautions", notices))
    sizes = dict.fromkeys(transfer.size for transfer in results.transfers)
    return Report([_answer(results, size) for size in sizes], _headlines(results), sections)


def lost_words(transfer: Transfer) -> str:
    """The loss that is lost, in per cent with its interval."""
    lost = transfer.lost
    if transfer.beyond:
        return "all: it diverges"
    bounds = [None if end is None else 100 * end for end in (lost.low, lost.high)]
    value, interval = formatting.rounded(Estimate(100 * lost.value, *bounds))
    return "\N{NO-BREAK SPACE}".join(part for part in (value, "%", interval) if part)


def _answer(results: Results, size: str) -> str:
    """What every model loses at a size, in each parametrisation."""
    of_size = [transfer for transfer in results.transfers if transfer.size == size]
    parts = []
    for model in dict.fromkeys(transfer.model for transfer in of_size):
        lost = [
            f"{lost_words(transfer)} ({transfer.parametrisation})"
            for transfer in of_size
            if transfer.model == model
        ]
        parts.append(f"{model} {formatting.listed(lost)}")
    return (
        f"{size[:1].upper()}{size[1:]}, at the best peak rate of the small size, "
        f"{results.settings.metric} is above that at the own best rate by: {'; '.join(parts)}."
    )


def _headlines(results: Results) -> list[Headline]:
    worst = {}
    for transfer in results.transfers:
        if not transfer.beyond:
            name = transfer.parametrisation
            worst[name] = max(worst.get(name, transfer), transfer, key=lambda each: each.lost.value)
    return [
        Headline(f"most lost, {name}", lost_words(each), f"{each.model}, {each.size}")
        for name, each in worst.items()
    ]


def _cautions(results: Results) -> list[Notice]:
    notices = [
        Notice("no complete runs", f"{name} has no three rates, so it is left out.")
        for name in results.absent
    ]
    edges = [
        f"{transfer.model}, {where}"
        for transfer in results.transfers
        for where, curve in (
            ("small", transfer.small),
            (f"{transfer.size}, {transfer.parametrisation}", transfer.large),
        )
        if curve.at_edge
    ]
    if edges:
        where = formatting.listed(list(dict.fromkeys(edges)))
        notices.append(
            Notice(
                "best rate at the edge of its grid",
                f"The best rate may lie beyond those tried, and what is lost be more: {where}.",
            )
        )
    if any(transfer.large.seeds < 2 for transfer in results.transfers):
        notices.append(Notice("one seed", "Sizes with one seed have no intervals."))
    return notices


def _lost_figure(results: Results) -> Figure:
    level = formatting.percent(results.settings.level)
    return Figure(
        "lost",
        "What the rate of the small size costs",
        f"{results.settings.metric} at the large size and the small one's best peak rate, above "
        f"that at the large one's own best. Bars: {level} intervals, by resampling seeds.",
        "Loss lost by each model at each size, in each parametrisation.",
        lambda: drawing.lost(results),
    )


def _curves_figure(results: Results) -> Figure:
    return Figure(
        "rates",
        "Loss against peak rate",
        f"Held-out {results.settings.metric}, means over seeds; runs that diverged are left out. "
        "Dashed: the small size, with a vertical line at its best rate. Losses above 1.6 times the "
        "lowest of a panel are cut off.",
        "Loss against peak rate, a panel a model and size, a line a parametrisation.",
        lambda: drawing.curves(results),
    )


def _table(results: Results) -> Table:
    header = ["model", "size", "parametrisation", "best rate", "over the small one's"]
    header += ["loss there", "lost at the small one's rate", "seeds"]
    return Table(
        header,
        [_row(transfer) for transfer in results.transfers],
        "Best rates are vertices of parabolas in the log of the rate.",
        sortable=True,
    )


def _row(transfer: Transfer) -> list:
    large = transfer.large
    return [
        transfer.model,
        transfer.size,
        transfer.parametrisation,
        Number(formatting.plain(large.best_rate.value, 3), large.best_rate.value),
        Number(formatting.estimate(transfer.shift), transfer.shift.value),
        Number(formatting.estimate(large.best_loss), large.best_loss.value),
        Number(lost_words(transfer), transfer.lost.value),
        Number(str(large.seeds), large.seeds),
    ]


ANALYSIS = Analysis(Settings, analyse, report, check)
