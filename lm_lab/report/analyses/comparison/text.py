"""The answer of a comparison in sentences and tables, each with its uncertainty."""

from collections.abc import Callable, Sequence

from lm_lab.report import formatting
from lm_lab.report.analyses.comparison.records import Cell, Multiplier, Results
from lm_lab.report.page import Headline, Notice

TRIED = "Of the runs that were tried: "
UNEQUAL = 0.05  # share by which the compute of a cell may differ from its budget without a word


def answer(results: Results) -> list[str]:
    """The paragraphs of the answer: who leads, how surely, and the cost to catch up."""
    top = results.budgets[-1]
    ranked = results.at(top)
    paragraphs = [_ranking(results, ranked)]
    tried = TRIED if doubts(results.cells) else ""
    if len(results.budgets) > 1:
        paragraphs.append(tried + _lead(results, ranked[0].arm))
    paragraphs += [tried + _compute(results, top)] if results.multipliers else []
    paragraphs += _clock(ranked)
    return [*paragraphs, *_decisions(results), _noise(results)]


def _lead(results: Results, leader: str) -> str:
    """Whether the contender that is ahead at the largest budget is ahead at all, and how surely."""
    ahead = {budget: results.at(budget)[0].arm for budget in results.budgets}
    if set(ahead.values()) == {leader}:
        words = (
            f"{leader} has the {results.settings.scale.best} at every budget from "
            f"{formatting.power(results.budgets[0])} FLOPs on"
        )
        sure = [budget for budget in results.budgets if not _near(results, budget)]
        if results.noise is None or len(sure) == len(results.budgets):
            return f"{words}."
        where = formatting.listed([formatting.power(budget) for budget in sure])
        return f"{words}, told from all others {f'at {where} alone' if sure else 'at none'}."
    parts = []
    for budget, arm in ahead.items():
        if arm != leader:
            found = next((each for each in _near(results, budget) if each == leader), None)
            unsure = found is not None and results.noise is not None
            doubt = f", which seed noise does not tell from {leader} there" if unsure else ""
            parts.append(f"{arm} at {formatting.power(budget)}{doubt}")
    best = results.settings.scale.best
    return f"At other budgets another has the {best}: {formatting.listed(parts)}."


def _near(results: Results, budget: float) -> list[str]:
    """The contenders that cannot be told apart from the leader at a budget."""
    first, *others = [cell.arm for cell in results.at(budget)]
    return [arm for arm in others if not results.pair(budget, first, arm).told]


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
    scale = results.settings.scale
    shown = formatting.listed([f"{cell.arm} {formatting.estimate(cell.metric)}" for cell in ranked])
    words = (
        f"With {formatting.power(ranked[0].budget)} FLOPs of training each, in {scale.title} "
        f"({formatting.percent(results.settings.level)} intervals{scale.hint}): {shown}."
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
    near = _near(results, ranked[0].budget)
    if not near:
        return f"{words} {tried}{leader} leads by more than seed noise explains{hedge}."
    rest = ", and tells it from all others" if len(near) < len(ranked) - 1 else ""
    return (
        f"{words} {tried}Seed noise does not tell {leader} from {formatting.listed(near)}"
        f"{rest}{hedge}."
    )


def doubts(cells: Sequence[Cell]) -> list[str]:
    """Which settings were best at the edge of their grids, as clauses that can end a sentence."""
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


def _compute(results: Results, top: float) -> str:
    parts = [
        f"{share(item)} times for {item.arm}{' (extrapolated)' if item.extrapolated else ''}"
        for item in results.multipliers
        if item.budget == top
    ]
    of = "and of the form of its law" if results.settings.scale.is_ratio else "alone"
    within = f" (intervals: of seed noise {of})" if results.noise else ""
    return (
        f"To reach what the others reach with {formatting.power(top)} FLOPs, "
        f"{results.settings.reference} needs, of that compute, {formatting.listed(parts)}{within}."
    )


def share(item: Multiplier) -> str:
    """A multiplier with its interval, which may have no upper end."""
    low, high = item.share.low, item.share.high
    if low is None or high is not None:
        return formatting.estimate(item.share)
    return f"{formatting.plain(item.share.value, 2)} (at least {formatting.plain(low, 2)})"


def _decisions(results: Results) -> list[str]:
    """How well smaller budgets foretell the order at the largest."""
    if not results.decisions:
        return []
    parts = []
    for each in results.decisions:
        agreeing = round(each.share.value * each.pairs)
        bounds = [each.share.low, each.share.high]
        known = [100 * bound for bound in bounds if bound is not None]
        interval = f" [{known[0]:.0f}, {known[1]:.0f}]" if known else ""
        words = (
            f"{agreeing} of {each.pairs} at {formatting.power(each.budget)} "
            f"({100 * each.share.value:.0f}{formatting.UNBROKEN}%{interval}"
        )
        apart = f"; {each.told_agreeing} of the {each.told} told apart" if each.told else ""
        parts.append(f"{words}{apart})")
    return [
        "Whether a smaller budget foretells the order: pairs that stand as at "
        f"{formatting.power(results.decisions[0].target)} FLOPs are {formatting.listed(parts)}."
    ]


def _noise(results: Results) -> str:
    noise = results.noise
    if noise is None:
        return (
            "One seed a cell: there is no interval, and small differences mean nothing."
            f"{_choice(results)}"
        )
    scale, low, high = results.settings.scale, noise.deviation.low, noise.deviation.high
    assert low is not None
    assert high is not None
    shown = formatting.estimate(noise.deviation)
    if scale.is_ratio:
        shown = f"{scale.amount(noise.deviation.value)} [{100 * low:.2g}, {100 * high:.2g}]"
    pairs = formatting.many(len(results.pairs), "pair")
    return (
        f"Runs that differ in their seed alone scatter by {shown} "
        "(standard deviation, pooled over the best rate of every size, "
        f"{formatting.many(noise.degrees, 'degree')} of freedom). With {pairs} of contenders and "
        f"budgets compared at once at {formatting.percent(results.settings.level)}, no difference "
        f"below {scale.amount(noise.floor)} can be told.{_choice(results)}"
    )


def _choice(results: Results) -> str:
    """On which text rates and sizes were chosen, and how the luck of the best is corrected."""
    if all(cell.rates == cell.sizes == 1 for cell in results.cells):
        return ""
    text = "other text than is reported" if results.text_apart else "the text that is reported"
    words = f" Rates and sizes were chosen on {text}."
    if results.noise is None:
        return f"{words} By how much the luck of the best flatters it, nobody knows."
    most = results.settings.scale.amount(max(cell.flattery for cell in results.cells))
    return (
        f"{words} The best of several is flattered by the luck of its seeds, by up to {most} here "
        "(simulated); that is taken off."
    )


def headlines(results: Results) -> list[Headline]:
    """The key numbers: the contenders at the largest budget."""
    level = formatting.percent(results.settings.level)
    made = []
    for cell in results.at(results.budgets[-1])[:4]:
        shown, bounds = formatting.rounded(cell.metric)
        made.append(
            Headline(
                f"{cell.arm}, {results.settings.scale.noun}",
                shown,
                f"{level} interval {bounds}" if bounds else "one seed",
            )
        )
    return made


def notices(results: Results) -> list[Notice]:
    """Warnings of settings at the edge of their grids, and of missing runs."""
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
    made += [*_unequal(results), *_at_the_end(results)]
    if results.missing:
        names = formatting.listed(list(results.missing))
        made.append(
            Notice("Not at every budget", f"No complete run at some budget of {names}.", bad=True)
        )
    return made


def _unequal(results: Results) -> list[Notice]:
    """A warning of contenders whose runs took another compute than their budget."""
    found = [
        f"{cell.arm} at {formatting.power(cell.budget)} took {100 * abs(share):.0f} % "
        f"{'more' if share > 0 else 'less'}"
        for cell in results.cells
        if abs(share := cell.flops / cell.budget - 1) > UNEQUAL
    ]
    if not found:
        return []
    words = (
        f"Of the budget's compute {formatting.listed(found)}. A budget is rounded to whole calls "
        "of train.steps_per_call steps: lower that, or compare at larger budgets."
    )
    return [Notice("Unequal compute", words)]


def _at_the_end(results: Results) -> list[Notice]:
    """A warning of contenders so near to the end of the metric's range that seeds scatter less."""
    scale, found = results.settings.scale, []
    if scale.is_ratio or results.noise is None:
        return []
    for cell in results.cells:
        value, spread = cell.metric.value, 2 * results.noise.deviation.value
        if value - spread < scale.known.low or value + spread > scale.known.high:
            found.append(f"{cell.arm} at {formatting.power(cell.budget)}")
    if not found:
        return []
    words = (
        f"The noise of seeds is pooled, and is smaller where {scale.noun} can get no lower or no "
        f"higher, as for {formatting.listed(found)}: there intervals are too wide, and elsewhere "
        "too narrow."
    )
    return [Notice("Near the end of the range", words)]
