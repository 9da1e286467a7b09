"""The answer of a comparison in sentences and tables, each with its uncertainty."""

from collections.abc import Callable, Sequence

from lm_lab.report import formatting
from lm_lab.report.analyses.comparison.results import Cell, Results
from lm_lab.report.page import Headline, Notice, Number, Table

TRIED = "Of the runs that were tried: "


def answer(results: Results) -> list[str]:
    """The paragraphs of the answer: who leads, how surely, and the cost to catch up."""
    top = results.budgets[-1]
    ranked = results.at(top)
    paragraphs = [_ranking(results, ranked)]
    changed = [
        budget for budget in results.budgets[:-1] if results.at(budget)[0].arm != ranked[0].arm
    ]
    tried = TRIED if doubts(results.cells) else ""
    if changed:
        leaders = [
            f"{results.at(budget)[0].arm} at {formatting.power(budget)}" for budget in changed
        ]
        paragraphs.append(
            f"{tried}The lead depends on the budget: {formatting.listed(leaders)} FLOPs."
        )
    elif len(results.budgets) > 1:
        paragraphs.append(
            f"{tried}{ranked[0].arm} has the lowest at every budget from "
            f"{formatting.power(results.budgets[0])} FLOPs on."
        )
    paragraphs += [tried + _compute(results, top)] if results.multipliers else []
    paragraphs += _clock(ranked)
    return [*paragraphs, _noise(results)]


def _clock(ranked: list[Cell]) -> list[str]:
    """Which contender trained fastest, if it is not the one with the lowest loss."""
    first, fastest = ranked[0], min(ranked, key=lambda cell: cell.seconds)
    if fastest.arm == first.arm:
        return []
    took = (
        f"a run of {fastest.arm} trained for {formatting.seconds(fastest.seconds)}, and one of "
        f"{first.arm} for"
    )
    words = f"By the clock the order is another one: {took} {formatting.seconds(first.seconds)}"
    if fastest.compile_seconds is None or first.compile_seconds is None:
        return [f"{words}, compiling included, which these runs did not time apart."]
    compiling = [
        formatting.seconds(cell.compile_seconds)
        for cell in (fastest, first)
        if cell.compile_seconds is not None
    ]
    return [f"{words}; compiling, {compiling[0]} and {compiling[1]}, is not in it."]


def _ranking(results: Results, ranked: list[Cell]) -> str:
    shown = formatting.listed(
        [f"{cell.arm} {formatting.estimate(cell.bits_per_byte)}" for cell in ranked]
    )
    words = (
        f"With {formatting.power(ranked[0].budget)} FLOPs of training each, in held-out bits per "
        f"byte ({formatting.percent(results.settings.level)} intervals): {shown}."
    )
    if len(ranked) == 1:
        return f"{words} No other contender has a complete run there."
    found, leader = doubts(ranked), ranked[0].arm
    tried, hedge = (
        (TRIED, f", but {'; '.join(found)}: another search may change the order")
        if found
        else ("", "")
    )
    if results.noise is None:
        return (
            f"{words} {tried}{leader} is ahead; without a second seed nobody knows how "
            f"surely{hedge}."
        )
    near = [cell.arm for cell in ranked[1:] if overlap(ranked[0], cell)]
    if near:
        others = formatting.listed(near)
        return f"{words} {tried}Seed noise does not tell {leader} from {others}{hedge}."
    return f"{words} {tried}{leader} leads by more than seed noise explains{hedge}."


def doubts(cells: Sequence[Cell]) -> list[str]:
    """What was not searched to its end, as clauses that can end a sentence."""
    reasons: list[tuple[str, Callable[[Cell], bool]]] = [
        ("one peak rate alone was tried of {}", lambda cell: cell.rates == 1),
        ("the best peak rate lies at the edge of its grid for {}", lambda cell: cell.rate_at_edge),
        ("one size alone was tried of {}", lambda cell: cell.sizes == 1),
        ("the best size lies at the edge of its range for {}", lambda cell: cell.size_at_edge),
    ]
    arms = list(dict.fromkeys(cell.arm for cell in cells))
    found = []
    for words, doubtful in reasons:
        concerned = list(dict.fromkeys(cell.arm for cell in cells if doubtful(cell)))
        if concerned:
            found.append(
                words.format(
                    "every contender" if concerned == arms else formatting.listed(concerned)
                )
            )
    return found


def overlap(one: Cell, other: Cell) -> bool:
    """Whether the intervals of two cells overlap."""
    a, b = one.bits_per_byte, other.bits_per_byte
    return a.high is not None and b.low is not None and b.low <= a.high


def _compute(results: Results, top: float) -> str:
    parts = []
    for item in results.multipliers:
        if item.budget == top:
            beyond = " (extrapolated)" if item.extrapolated else ""
            parts.append(f"{formatting.estimate(item.share)} times for {item.arm}{beyond}")
    return (
        f"To reach what the others reach with {formatting.power(top)} FLOPs, "
        f"{results.settings.reference} needs, of that compute, {formatting.listed(parts)}."
    )


def _noise(results: Results) -> str:
    if results.noise is None:
        return "One seed a cell: there is no interval, and small differences mean nothing."
    return (
        f"Runs that differ in their seed alone scatter by {formatting.percent(results.noise)} "
        "(standard deviation, pooled over the cells shown, "
        f"{formatting.many(results.degrees, 'degree')} of freedom). The best rate and size were "
        "picked by the loss that is reported, which flatters all contenders alike by less than "
        "that."
    )


def headlines(results: Results) -> list[Headline]:
    """The key numbers: the contenders at the largest budget."""
    level = formatting.percent(results.settings.level)
    made = []
    for cell in results.at(results.budgets[-1])[:4]:
        shown, bounds = formatting.rounded(cell.bits_per_byte)
        made.append(
            Headline(
                f"{cell.arm}, bits per byte",
                shown,
                f"{level} interval {bounds}" if bounds else "one seed",
            )
        )
    return made


def table(results: Results) -> Table:
    """Every contender at every budget."""
    header = [
        "contender",
        "budget (FLOPs)",
        "bits/byte",
        "interval",
        "N",
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
                Number(formatting.short(cell.params_total), cell.params_total),
                Number(formatting.short(cell.tokens), cell.tokens),
                Number(formatting.plain(cell.rate, 2), cell.rate),
                Number(formatting.plain(cell.seconds, 3), cell.seconds),
                None if compiling is None else Number(formatting.plain(compiling, 3), compiling),
            ]
        )
    words = (
        "Each contender's best size at its best peak rate; means over seeds. Seconds are those of "
        "training one run; compiling is apart, or within them where it is not shown."
    )
    return Table(header, rows, words, sortable=True)


def multipliers(results: Results) -> Table:
    """The share of a contender's compute that the reference needs for the same loss."""
    reference = results.settings.reference
    rows = [
        [
            item.arm,
            Number(formatting.power(item.budget), item.budget),
            Number(formatting.estimate(item.share), item.share.value),
            "extrapolated" if item.extrapolated else "",
        ]
        for item in results.multipliers
    ]
    words = (
        f"Compute with which {reference} reaches the contender's loss, over the contender's "
        f"compute, read off the line through {reference}'s cells on log axes: below 1, {reference} "
        "is the better use of compute."
    )
    return Table(["contender", "its budget (FLOPs)", f"{reference}'s share", ""], rows, words)


def notices(results: Results) -> list[Notice]:
    """What was not tuned to the end, and what is missing."""
    made = []
    edges = [
        f"{cell.arm} at {formatting.power(cell.budget)}"
        for cell in results.cells
        if cell.rate_at_edge
    ]
    if edges:
        made.append(
            Notice(
                "Peak rate at the edge of its grid",
                f"The best may lie beyond for {formatting.listed(edges)}.",
            )
        )
    single = [
        f"{cell.arm} at {formatting.power(cell.budget)}"
        for cell in results.cells
        if cell.rates == 1
    ]
    if single:
        made.append(
            Notice("One peak rate alone", f"Another may be better for {formatting.listed(single)}.")
        )
    edges = [
        f"{cell.arm} at {formatting.power(cell.budget)}"
        for cell in results.cells
        if cell.size_at_edge
    ]
    if edges:
        made.append(
            Notice(
                "Size at the edge of its range",
                f"The best may lie beyond for {formatting.listed(edges)}.",
            )
        )
    if results.missing:
        names = formatting.listed(list(results.missing))
        made.append(
            Notice("Not at every budget", f"No complete run at some budget of {names}.", bad=True)
        )
    return made
