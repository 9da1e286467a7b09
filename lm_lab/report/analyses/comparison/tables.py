"""The numbers behind a comparison, as tables."""

import math

from lm_lab.report import formatting
from lm_lab.report.analyses.comparison.records import Cell, Pair, Results
from lm_lab.report.analyses.comparison.scale import Scale
from lm_lab.report.analyses.comparison.text import share
from lm_lab.report.page import Number, Table


def contenders(results: Results) -> Table:
    """Every contender at every budget."""
    scale = results.settings.scale
    header = [
        "contender",
        "budget (FLOPs)",
        scale.unit,
        "interval",
        "N tried",
        "N* of its valley",
        "all parameters",
        "D",
        "peak rate",
        "seconds",
        "compiling (s)",
    ]
    rows = []
    for cell in [cell for budget in results.budgets for cell in results.at(budget)]:
        shown, bounds = formatting.rounded(cell.metric)
        compiling = cell.compile_seconds
        rows.append(
            [
                cell.arm,
                Number(formatting.power(cell.budget), cell.budget),
                Number(shown, cell.metric.value),
                bounds,
                Number(formatting.short(cell.params), cell.params),
                _valley(cell),
                Number(formatting.short(cell.params_total), cell.params_total),
                Number(formatting.short(cell.tokens), cell.tokens),
                Number(formatting.plain(cell.rate, 2), cell.rate),
                Number(formatting.plain(cell.seconds, 3), cell.seconds),
                None if compiling is None else Number(formatting.plain(compiling, 3), compiling),
            ]
        )
    words = (
        "Each contender's best size at its best peak rate; means over seeds. "
        f"{scale.subject} those at the vertex of its own valley, where it has one, less the luck "
        "of the best. Seconds are those of training one run; compiling is apart, or within them "
        "where it is not shown."
    )
    return Table(header, rows, words, sortable=True)


def multipliers(results: Results) -> Table:
    """The share of a contender's compute that the reference needs for the same metric."""
    reference, scale = results.settings.reference, results.settings.scale
    rows = [
        [
            item.arm,
            Number(formatting.power(item.budget), item.budget),
            Number(share(item), item.share.value),
            "extrapolated" if item.extrapolated else "",
        ]
        for item in results.multipliers
    ]
    axes, held = "a log axis of compute", "seed noise alone; nothing is read beyond these cells."
    if scale.is_ratio:
        axes = "log axes"
        held = (
            f"seed noise, and every law, levelling off or not, that {reference}'s cells allow; "
            "without an upper end where one never gets there."
        )
    words = (
        f"Compute with which {reference} reaches the contender's {scale.quantity}, over the "
        f"contender's compute, read off the line through {reference}'s cells on {axes}: below 1, "
        f"{reference} is the better use of compute. Intervals hold {held}"
    )
    return Table(["contender", "its budget (FLOPs)", f"{reference}'s share", ""], rows, words)


def pairs(results: Results) -> Table:
    """Every pair of contenders at the largest budget."""
    scale = results.settings.scale
    rows = [
        [
            f"{pair.one} before {pair.other}",
            *_difference(pair, scale),
            "" if pair.told is None else "told apart" if pair.told else "not told apart",
        ]
        for pair in results.pairs
        if pair.budget == results.budgets[-1]
    ]
    level = formatting.percent(results.settings.level)
    words = (
        f"{scale.capital} of the second {scale.worse} {scale.pronoun} of the first, at "
        f"{formatting.power(results.budgets[-1])} FLOPs. The intervals of all {len(results.pairs)} "
        f"pairs of contenders and budgets hold at once with {level} (the largest t, simulated)."
    )
    return Table(["pair", "difference", "interval", ""], rows, words)


def sizes(results: Results) -> Table:
    """Every size tried, at its best rate."""
    rows = [
        [
            cell.arm,
            Number(formatting.power(cell.budget), cell.budget),
            Number(formatting.short(size.params), size.params),
            Number(formatting.plain(size.rate, 2), size.rate),
            Number(str(len(size.runs)), len(size.runs)),
            Number(formatting.plain(size.metric, 4), size.metric),
        ]
        for cell in results.cells
        for size in cell.tried
    ]
    header = [
        "contender",
        "budget (FLOPs)",
        "N",
        "best peak rate",
        "seeds",
        results.settings.scale.unit,
    ]
    words = "Every size tried, at the best of its peak rates; means over seeds."
    return Table(header, rows, words, sortable=True)


def _valley(cell: Cell) -> Number | None:
    if cell.valley is None:
        return None
    low, high = cell.valley.low, cell.valley.high
    bounds = ""
    if low is not None and high is not None:
        bounds = f" [{formatting.short(low)}, {formatting.short(high)}]"
    return Number(formatting.short(cell.valley.value) + bounds, cell.valley.value)


def _percent(log_ratio: float) -> str:
    return f"{formatting.minus(f'{100 * math.expm1(log_ratio):.1f}')}{formatting.UNBROKEN}%"


def _difference(pair: Pair, scale: Scale) -> tuple[Number, str]:
    """A difference with its interval: in percent of a likelihood, else in the metric's unit."""
    found = pair.difference
    if not scale.is_ratio:
        shown, bounds = formatting.rounded(found)
        return Number(shown, found.value), bounds
    bounds = ""
    if found.low is not None and found.high is not None:
        bounds = f"[{_percent(found.low)}, {_percent(found.high)}]"
    return Number(_percent(found.value), found.value), bounds
