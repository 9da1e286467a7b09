"""The report of curves: a metric against one setting, such as accuracy against the number of
labels.

Any metric of results.csv, higher or lower being better, against any number that the study varies,
one line for each arm. Values are means over seeds. Intervals include the noise of seeds, pooled
over arms, and for a metric that is a share of held-out items, the sampling of these items.
"""

from lm_lab.report import formatting
from lm_lab.report.analyses.curves import drawing
from lm_lab.report.analyses.curves.results import Point, Results, Settings, analyse, check
from lm_lab.report.contract import Analysis
from lm_lab.report.page import Figure, Headline, Notice, Number, Report, Section, Table
from lm_lab.report.stored import Sweep


def report(results: Results, sweep: Sweep) -> Report:
    """The answer at each value of the setting, the figure and the table."""
    del sweep
    sections = [
        Section("Evidence", [_figure(results)]),
        Section("All arms", [_table(results)]),
    ]
    if notices := _cautions(results):
        sections.insert(0, Section("Cautions", notices))
    return Report(
        [_answer(results, value) for value in results.values], _headlines(results), sections
    )


def _answer(results: Results, value: float) -> str:
    """The best arm at a value, and those that cannot be told apart from it."""
    settings, (best, *other_points) = results.settings, results.at(value)
    sentence = (
        f"At {settings.against} = {formatting.varied(value)}, {best.arm} has the "
        f"{'highest' if settings.better == 'higher' else 'lowest'} {settings.metric}: "
        f"{formatting.estimate(best.value)}"
    )
    if formatting.rounded(best.value)[1]:
        sentence += f" ({formatting.percent(settings.level)} interval)"
    if not other_points:
        return f"{sentence}."
    not_told = [point.arm for point in other_points if results.told(best, point) is False]
    second = (
        f"{sentence}, before {other_points[0].arm}, {formatting.estimate(other_points[0].value)}"
    )
    return (
        f"{second}; seeds do not tell it from {formatting.listed(not_told)}."
        if not_told
        else f"{second}."
    )


def _headlines(results: Results) -> list[Headline]:
    best = results.at(results.values[-1])[0]
    where = f"{best.arm}, {results.settings.against} = {formatting.varied(best.at)}"
    return [Headline(f"best {results.settings.metric}", formatting.estimate(best.value), where)]


def _cautions(results: Results) -> list[Notice]:
    settings = results.settings
    notices = [
        Notice(
            "an arm has no point",
            f"{arm}: no run at {settings.against} = "
            f"{formatting.listed([formatting.varied(value) for value in values])} is complete "
            f"with {settings.metric}, so it is not compared there.",
        )
        for arm, values in results.absent
    ]
    single = [
        value for value in results.values if value not in {at for at, *_ in results.deviations}
    ]
    if single:
        where = formatting.listed([formatting.varied(value) for value in single])
        notices.append(
            Notice("one seed", f"At {where} every arm has one seed: its noise is not known.")
        )
    chosen = sorted({point.settings for point in results.points if point.settings})
    if chosen:
        choices = "; ".join(chosen)
        notices.append(
            Notice(
                "the best of several",
                "What else was swept is chosen by the text that is reported, which flatters: "
                f"{choices}.",
            )
        )
    return notices


def _figure(results: Results) -> Figure:
    settings = results.settings
    return Figure(
        "curves",
        f"{settings.metric} against {settings.against}",
        f"Held-out {settings.metric}, means over seeds. Bars: {formatting.percent(settings.level)} "
        f"intervals.{' Dashed: values to compare with.' if settings.known else ''}",
        f"{settings.metric} against {settings.against}, a line an arm.",
        lambda: drawing.curves(results),
    )


def _table(results: Results) -> Table:
    settings = results.settings
    header = ["arm", settings.against, settings.metric, "interval", "seeds"]
    is_chosen = any(point.settings for point in results.points)
    return Table(
        [*header, *(["chosen"] if is_chosen else [])],
        [_row(point)[: len(header) + is_chosen] for point in results.points],
        "Means over seeds, the best first.",
        sortable=True,
    )


def _row(point: Point) -> list:
    shown, bounds = formatting.rounded(point.value)
    return [
        point.arm,
        Number(formatting.varied(point.at), point.at),
        Number(shown, point.value.value),
        bounds,
        Number(str(point.seeds), point.seeds),
        point.settings,
    ]


ANALYSIS = Analysis(Settings, analyse, report, check)
