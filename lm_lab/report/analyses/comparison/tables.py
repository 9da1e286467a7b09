"""The numbers behind a comparison, as tables."""

import math

from lm_lab.report import formatting
from lm_lab.report.analyses.comparison.records import Cell, Pair, Results
from lm_lab.report.analyses.comparison.text import share
from lm_lab.report.page import Number, Table


def contenders(results: Results) -> Table:
    """Every contender at every budget."""
    header = [
        "contender",
        "budget (FLOPs)",
        "bits/byte",
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
    for cell in sorted(results.cells, key=lambda c: (c.budget, c.bits_per_byte.value)):
        shown, bounds = formatting.rounded(cell.bits_per_byte)
        compiling = cell.compile_seconds
        rows.append(
            [
                cell.arm,
                Number(formatting.power(cell.budget), cell.budget),
                Number(shown, cell.bits_per_byte.value),
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
        "Each contender's best size at its best peak rate; means over seeds. Bits per byte are "
        "those at the vertex of its own valley, where it has one, less the luck of the best. "
        "Seconds are those of training "
        "one run; compiling is apart, or within them where it is not shown."
    )
    return Table(header, rows, words, sortable=True)


def multipliers(results: Results) -> Table:
    """The share of a contender's compute that the reference needs for the same loss."""
    reference = results.settings.reference
    rows = [
        [
            item.arm,
            Number(formatting.power(item.budget), item.budget),
            Number(share(item), item.share.value),
            "extrapolated" if item.extrapolated else "",
        ]
        for item in results.multipliers
    ]
    words = (
        f"Compute with which {reference} reaches the contender's loss, over the contender's "
        f"compute, read off the line through {reference}'s cells on log axes: below 1, {reference} "
        "is the better use of compute. Intervals hold seed noise, and every law, levelling off or "
        f"not, that {reference}'s cells allow; without an upper end where one never gets there."
    )
    return Table(["contender", "its budget (FLOPs)", f"{reference}'s share", ""], rows, words)


def pairs(results: Results) -> Table:
    """Every pair of contenders at the largest budget."""
    rows = [
        [
            f"{pair.one} before {pair.other}",
            Number(f"{_percent(pair.difference.value)}", pair.difference.value),
            _interval(pair),
            "" if pair.told is None else "told apart" if pair.told else "not told apart",
        ]
        for pair in results.pairs
        if pair.budget == results.budgets[-1]
    ]
    level = formatting.percent(results.settings.level)
    words = (
        f"Bits per byte of the second above those of the first, at "
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
            Number(formatting.plain(size.bits_per_byte, 4), size.bits_per_byte),
        ]
        for cell in results.cells
        for size in cell.tried
    ]
    header = ["contender", "budget (FLOPs)", "N", "best peak rate", "seeds", "bits/byte"]
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


def _interval(pair: Pair) -> str:
    low, high = pair.difference.low, pair.difference.high
    return "" if low is None or high is None else f"[{_percent(low)}, {_percent(high)}]"
