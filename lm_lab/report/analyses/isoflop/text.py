"""The answer of an isoFLOP analysis in sentences, each with its number and its uncertainty."""

import math
from collections.abc import Callable

from lm_lab.report import formatting
from lm_lab.report.analyses.isoflop import words
from lm_lab.report.analyses.isoflop.frontier import lowest
from lm_lab.report.analyses.isoflop.reading import at, largest_fitted, preferred, ratio
from lm_lab.report.analyses.isoflop.results import COUNTS, Results
from lm_lab.report.page import Headline
from lm_lab.scaling.records import Estimate, Frontier, HeldOut, IsoflopAnalysis

_QUANTITIES = {"loss": "lowest loss", "params": "optimal size N*", "tokens": "optimal data D*"}


def answer(results: Results, unit: str = "token") -> list[str]:
    """The paragraphs of the answer; losses are nats a `unit`."""
    analysis = results.analysis
    best = preferred(analysis)
    if best is None:
        return [_no_law(analysis), *_open_questions(analysis)]
    paragraphs = [_law(analysis, best), _meaning(analysis, best)]
    doubts = [_agreement(analysis), _sensitivity(analysis), _counting(results)]
    paragraphs += [" ".join(doubt for doubt in doubts if doubt)] if any(doubts) else []
    paragraphs += (
        [_prediction(analysis, analysis.held_out, unit)] if analysis.held_out is not None else []
    )
    return [*paragraphs, *_open_questions(analysis), _scope(analysis)]


def headlines(analysis: IsoflopAnalysis) -> list[Headline]:
    """The key numbers of the answer."""
    best = preferred(analysis)
    numbers = []
    if best is not None:
        flops = largest_fitted(analysis)
        numbers = [
            Headline("exponent of N* in C", *_value(analysis, best.exponent_params)),
            Headline("exponent of D* in C", *_value(analysis, best.exponent_tokens)),
            Headline(
                f"tokens per parameter at {formatting.power(flops)} FLOPs",
                *_value(analysis, ratio(best.tokens, best.params, flops), formatting.short_bounds),
            ),
        ]
    if analysis.held_out is not None:
        comparison = analysis.held_out
        note = (
            f"predicted {' '.join(formatting.rounded(comparison.predicted))}, "
            f"{words.held_out(comparison.inside)}"
        )
        numbers.append(
            Headline(
                f"loss at {formatting.power(comparison.budget)} FLOPs, held out",
                f"{comparison.observed:.3f}",
                note,
            )
        )
    return numbers


def _value(
    analysis: IsoflopAnalysis,
    estimate: Estimate,
    write: Callable[[Estimate], tuple[str, str]] = formatting.rounded,
) -> tuple[str, str]:
    shown, bounds = write(estimate)
    return (
        shown,
        f"{formatting.percent(analysis.level)} interval {bounds}"
        if bounds
        else "no interval could be had",
    )


def _law(analysis: IsoflopAnalysis, best: Frontier) -> str:
    budgets = [point.budget for point in analysis.points if not point.held_out]
    (a, a_bounds), (b, b_bounds) = (
        formatting.rounded(best.exponent_params),
        formatting.rounded(best.exponent_tokens),
    )
    bounds = (
        f"; {formatting.percent(analysis.level)} intervals {a_bounds} and {b_bounds}"
        if a_bounds and b_bounds
        else ""
    )
    return (
        f"Between {formatting.power(min(budgets))} and {formatting.power(max(budgets))} FLOPs, the "
        f"model size of lowest held-out loss grows as N* ∝ C^{a} and its training data as D* ∝ "
        f"C^{b} ({best.method}{bounds}). {words.split(best.exponent_params)}"
    )


def _meaning(analysis: IsoflopAnalysis, best: Frontier) -> str:
    flops = largest_fitted(analysis)
    params, tokens = at(best.params, flops), at(best.tokens, flops)
    share = ratio(best.tokens, best.params, flops)
    return (
        f"Ten times the compute thus calls for {words.growth(best.exponent_params)} the parameters "
        f"and {words.growth(best.exponent_tokens)} the tokens. At {formatting.power(flops)} FLOPs "
        f"the optimum is near {formatting.short_estimate(params)} parameters on "
        f"{formatting.short_estimate(tokens)} tokens, {formatting.short_estimate(share)} tokens "
        "per parameter."
    )


def _agreement(analysis: IsoflopAnalysis) -> str:
    """Whether the two approaches agree, and whether the surface can be trusted."""
    two, three = analysis.frontier("approach 2"), analysis.frontier("approach 3")
    if two is None:
        return f"Approach 2 was refused, so nothing checks this exponent.{_doubts(analysis)}"
    if three is None:
        return (
            "Approach 3 was refused, so nothing checks this exponent, and approach 2 is biased on "
            "wide grids."
        )
    x, y = two.exponent_params, three.exponent_params
    compared = words.agreement(x, y)
    shown = f"Approach 2 gives a = {formatting.estimate(x)}"
    return f"{shown}{': ' if compared else ''}{compared}.{_doubts(analysis)}"


def _doubts(analysis: IsoflopAnalysis) -> str:
    """The cautions about the surface itself, which the answer must admit."""
    grave = ("irreducible loss near 0", "parameter at a bound", "badly conditioned")
    kinds = [kind for kind in grave if any(caution.kind == kind for caution in analysis.cautions)]
    return (
        f" The surface of approach 3 is itself in doubt: {formatting.listed(kinds)}."
        if kinds
        else ""
    )


def _sensitivity(analysis: IsoflopAnalysis) -> str:
    exponents = [
        variant.exponent_params
        for variant in analysis.variants
        if variant.exponent_params is not None
    ]
    if len(exponents) < 2:
        return ""
    refused = len(analysis.variants) - len(exponents)
    sentence = (
        f"Over {len(exponents)} variants of the analysis a runs from {min(exponents):.3f} to "
        f"{max(exponents):.3f}"
    )
    return (
        f"{sentence}, and {formatting.many(refused, 'variant')} could not be fitted."
        if refused
        else f"{sentence}."
    )


def _counting(results: Results) -> str:
    """How the exponent depends on what is counted as a parameter."""
    other_counts = [
        f"{formatting.estimate(estimate)} ({COUNTS[count.params]})"
        for count in results.counts[1:]
        if (estimate := count.approach_3 or count.approach_2) is not None
    ]
    if not other_counts:
        return ""
    counted = COUNTS[results.counts[0].params]
    return (
        f"The exponent depends on what is counted: here N is {counted}; counted otherwise, a is "
        f"{formatting.listed(other_counts)}."
    )


def _prediction(analysis: IsoflopAnalysis, held: HeldOut, unit: str) -> str:
    predicted, bounds = formatting.rounded(held.predicted)
    span = f" ({formatting.percent(analysis.level)} prediction interval {bounds})" if bounds else ""
    error = math.log(held.observed / held.predicted.value)
    sentence = (
        f"The budget of {formatting.power(held.budget)} FLOPs was held out. From the smaller "
        f"budgets alone, {words.SOURCES[held.predictor]} predicted a lowest loss of {predicted} "
        f"nats per {unit}{span}; the best runs there reached {held.observed:.4g}, "
        f"{formatting.percent(abs(error))} {'above' if error > 0 else 'below'} the prediction and "
        f"{words.held_out(held.inside)}."
    )
    missed = [
        f"the {_QUANTITIES[other.quantity]} by {words.SOURCES[other.predictor]}"
        for other in analysis.comparisons
        if other != held and other.inside is False
    ]
    return f"{sentence} Outside its interval: {formatting.listed(missed)}." if missed else sentence


def _no_law(analysis: IsoflopAnalysis) -> str:
    best = lowest(analysis.points)
    sentence = (
        "These runs do not determine how compute should be split between parameters and data: no "
        "law could be fitted."
    )
    if not best:
        return sentence
    lowest_losses = [
        f"{point.loss:.3f} at {formatting.power(point.budget)} FLOPs (N = "
        f"{formatting.short(point.params)})"
        for point in best
    ]
    return f"{sentence} What was seen: lowest loss {formatting.listed(lowest_losses)}."


def _open_questions(analysis: IsoflopAnalysis) -> list[str]:
    """What cannot be concluded, and why, in one paragraph."""
    if not analysis.refusals:
        return []
    reasons = [formatting.placed(refusal.where, refusal.message) for refusal in analysis.refusals]
    return [f"What cannot be concluded, and why: {'; '.join(reasons)}."]


def _scope(analysis: IsoflopAnalysis) -> str:
    sentence = (
        "The intervals hold the noise of these runs, not that of another text, tokenizer, "
        "architecture or recipe; nothing here speaks of budgets beyond those shown."
    )
    kinds = list(dict.fromkeys(caution.kind for caution in analysis.cautions))
    return (
        f"{sentence} Where the answer is weak (cautions below): {formatting.listed(kinds)}."
        if kinds
        else sentence
    )
