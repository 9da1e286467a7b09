"""Values of an analysis for the text and the tables of its report."""

import math

from lm_lab.scaling.records import Band, Estimate, Frontier, IsoflopAnalysis


def preferred(analysis: IsoflopAnalysis) -> Frontier | None:
    """The frontier of the answer: approach 3, else approach 2, which is biased (2603.22339)."""
    return analysis.frontier("approach 3") or analysis.frontier("approach 2")


def largest_fitted(analysis: IsoflopAnalysis) -> float:
    """FLOPs of the largest budget that a fit saw."""
    fitted = [point for point in analysis.points if not point.held_out]
    top = max(point.budget for point in fitted)
    return float(max(point.flops for point in fitted if point.budget == top))


def at(band: Band, flops: float) -> Estimate:
    """A curve at a compute with its interval, interpolated on log axes."""
    places = range(1, len(band.flops))
    after = next((place for place in places if band.flops[place] >= flops), len(band.flops) - 1)
    x0, x1 = (math.log(x) for x in band.flops[after - 1 : after + 1])
    share = (math.log(flops) - x0) / (x1 - x0)

    def between(curve: tuple[float | None, ...]) -> float | None:
        before, behind = curve[after - 1 : after + 1]
        return None if before is None or behind is None else before ** (1 - share) * behind**share

    value = between(band.value)
    assert value is not None
    return Estimate(value, between(band.low), between(band.high))


def ratio(of: Band, to: Band, flops: float) -> Estimate:
    """D*/N* at a compute. At a given C more parameters mean fewer tokens in each draw: the largest
    D* belongs to the smallest N*.
    """
    d, n = at(of, flops), at(to, flops)
    if d.low is None or d.high is None or n.low is None or n.high is None:
        return Estimate(d.value / n.value)
    return Estimate(d.value / n.value, d.low / n.high, d.high / n.low)
