"""The answer of a comparison in sentences and tables, each with its uncertainty."""

from collections.abc import Callable, Sequence

from lm_lab.report import text
from lm_lab.report.comparison.findings import Cell, Findings
from lm_lab.report.page import Notice, Number, Table, Tile

TRIED = "Of the runs that were tried: "


def answer(findings: Findings) -> list[str]:
    """The paragraphs of the answer: who leads at the largest budget, how surely, and what it costs
    to catch up.
    """
    top = findings.budgets[-1]
    ranked = findings.at(top)
    paragraphs = [_ranking(findings, ranked)]
    changed = [
        budget for budget in findings.budgets[:-1] if findings.at(budget)[0].arm != ranked[0].arm
    ]
    tried = TRIED if doubts(findings.cells) else ""
    if changed:
        leaders = [f"{findings.at(budget)[0].arm} at {text.power(budget)}" for budget in changed]
        paragraphs.append(f"{tried}The lead depends on the budget: {text.listed(leaders)} FLOPs.")
    elif len(findings.budgets) > 1:
        paragraphs.append(
            f"{tried}{ranked[0].arm} has the least at every budget from "
            f"{text.power(findings.budgets[0])} FLOPs on."
        )
    paragraphs += [tried + _compute(findings, top)] if findings.multipliers else []
    paragraphs += _clock(ranked)
    return [*paragraphs, _noise(findings)]


def _clock(ranked: list[Cell]) -> list[str]:
    """Which of the contenders trained fastest, where that is another than the one with the least
    loss.
    """
    first, fastest = ranked[0], min(ranked, key=lambda cell: cell.seconds)
    if fastest.arm == first.arm:
        return []
    took = (
        f"a run of {fastest.arm} trained for {text.seconds(fastest.seconds)}, and one of "
        f"{first.arm} for"
    )
    words = f"By the clock the order is another one: {took} {text.seconds(first.seconds)}"
    if fastest.compile_seconds is None or first.compile_seconds is None:
        return [f"{words}, compiling included, which these runs did not time apart."]
    compiling = [
        text.seconds(cell.compile_seconds)
        for cell in (fastest, first)
        if cell.compile_seconds is not None
    ]
    return [f"{words}; compiling, {compiling[0]} and {compiling[1]}, is not in it."]


def _ranking(findings: Findings, ranked: list[Cell]) -> str:
    shown = text.listed([f"{cell.arm} {text.estimate(cell.bits_per_byte)}" for cell in ranked])
    words = (
        f"With {text.power(ranked[0].budget)} FLOPs of training each, in held-out bits per byte "
        f"({text.percent(findings.settings.level)} intervals): {shown}."
    )
    if len(ranked) == 1:
        return f"{words} No other contender has a complete run there."
    found, leader = doubts(ranked), ranked[0].arm
    tried, hedge = (
        (TRIED, f", but {'; '.join(found)}: another search may change the order")
        if found
        else ("", "")
    )
    if findings.noise is None:
        return (
            f"{words} {tried}{leader} is ahead; without a second seed nobody knows how "
            f"surely{hedge}."
        )
    near = [cell.arm for cell in ranked[1:] if overlap(ranked[0], cell)]
    if near:
        return f"{words} {tried}Seed noise does not tell {leader} from {text.listed(near)}{hedge}."
    return f"{words} {tried}{leader} leads by more than seed noise explains{hedge}."


def doubts(cells: Sequence[Cell]) -> list[str]:
    """What was not searched to its end among cells, in words that a sentence can end with."""
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
                words.format("every contender" if concerned == arms else text.listed(concerned))
            )
    return found


def overlap(one: Cell, other: Cell) -> bool:
    """Whether the intervals of two cells meet."""
    a, b = one.bits_per_byte, other.bits_per_byte
    return a.high is not None and b.low is not None and b.low <= a.high


def _compute(findings: Findings, top: float) -> str:
    parts = []
    for item in findings.multipliers:
        if item.budget == top:
            beyond = " (extrapolated)" if item.extrapolated else ""
            parts.append(f"{text.estimate(item.share)} times for {item.arm}{beyond}")
    return (
        f"To reach what the others reach with {text.power(top)} FLOPs, "
        f"{findings.settings.reference} needs, of that "
        f"compute, {text.listed(parts)}."
    )


def _noise(findings: Findings) -> str:
    if findings.noise is None:
        return "One seed a cell: there is no interval, and small differences mean nothing."
    return (
        f"Runs that differ in their seed alone scatter by {text.percent(findings.noise)} "
        "(standard deviation, "
        f"pooled over the cells shown, {text.many(findings.degrees, 'degree')} of freedom). The "
        "best rate and size "
        "were picked by the loss that is reported, which flatters all contenders alike by less "
        "than that."
    )


def tiles(findings: Findings) -> list[Tile]:
    """The numbers worth a large print: the contenders at the largest budget."""
    level = text.percent(findings.settings.level)
    made = []
    for cell in findings.at(findings.budgets[-1])[:4]:
        shown, bounds = text.rounded(cell.bits_per_byte)
        made.append(
            Tile(
                f"{cell.arm}, bits per byte",
                shown,
                f"{level} interval {bounds}" if bounds else "one seed",
            )
        )
    return made


def table(findings: Findings) -> Table:
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
    for cell in sorted(findings.cells, key=lambda c: (c.budget, c.bits_per_byte.value)):
        shown, bounds = text.rounded(cell.bits_per_byte)
        compiling = cell.compile_seconds
        rows.append(
            [
                cell.arm,
                Number(text.power(cell.budget), cell.budget),
                Number(shown, cell.bits_per_byte.value),
                bounds,
                Number(text.short(cell.params), cell.params),
                Number(text.short(cell.params_total), cell.params_total),
                Number(text.short(cell.tokens), cell.tokens),
                Number(text.plain(cell.rate, 2), cell.rate),
                Number(text.plain(cell.seconds, 3), cell.seconds),
                None if compiling is None else Number(text.plain(compiling, 3), compiling),
            ]
        )
    words = (
        "Each contender's best size at its best peak rate; means over seeds. Seconds are those "
        "of training one run; "
        "compiling is apart, or within them where it is not shown."
    )
    return Table(header, rows, words, sortable=True)


def multipliers(findings: Findings) -> Table:
    """How much of a contender's compute the reference needs for the same loss."""
    reference = findings.settings.reference
    rows = [
        [
            item.arm,
            Number(text.power(item.budget), item.budget),
            Number(text.estimate(item.share), item.share.value),
            "extrapolated" if item.extrapolated else "",
        ]
        for item in findings.multipliers
    ]
    words = (
        f"Compute with which {reference} reaches the contender's loss, over the contender's "
        "compute, read off the line "
        f"through {reference}'s cells on log axes: below 1, {reference} is the better use of "
        "compute."
    )
    return Table(["contender", "its budget (FLOPs)", f"{reference}'s share", ""], rows, words)


def notices(findings: Findings) -> list[Notice]:
    """What was not tuned to the end, and what is missing."""
    made = []
    edges = [
        f"{cell.arm} at {text.power(cell.budget)}" for cell in findings.cells if cell.rate_at_edge
    ]
    if edges:
        made.append(
            Notice(
                "Peak rate at the edge of its grid",
                f"The best may lie beyond for {text.listed(edges)}.",
            )
        )
    single = [
        f"{cell.arm} at {text.power(cell.budget)}" for cell in findings.cells if cell.rates == 1
    ]
    if single:
        made.append(
            Notice("One peak rate alone", f"Another may be better for {text.listed(single)}.")
        )
    edges = [
        f"{cell.arm} at {text.power(cell.budget)}" for cell in findings.cells if cell.size_at_edge
    ]
    if edges:
        made.append(
            Notice(
                "Size at the edge of its range",
                f"The best may lie beyond for {text.listed(edges)}.",
            )
        )
    if findings.missing:
        names = text.listed(list(findings.missing))
        made.append(
            Notice("Not at every budget", f"No complete run at some budget of {names}.", bad=True)
        )
    return made
