"""N*(C) and D*(C): the compute-optimal split by approaches 2 and 3, with bootstrap bands."""

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm_lab.report import formatting, style
from lm_lab.scaling.records import Band, Estimate, Frontier, IsoflopAnalysis

Quantity = Literal["params", "tokens"]

METHODS = {"approach 2": (style.APPROACH_2, "-"), "approach 3": (style.APPROACH_3, (0, (5, 1.6)))}


def draw(analysis: IsoflopAnalysis) -> Figure:
    """Two panels: optimal parameters and optimal tokens against compute."""
    figure, (left, right) = style.panels(style.PAGE_INCHES, 3.1, columns=2)
    figure.set_layout_engine("constrained", wspace=0.04)
    _panel(left, analysis, "params", "a", "optimal parameters $N$*")
    _panel(right, analysis, "tokens", "b", "optimal tokens $D$*")
    return figure


def _panel(
    axes: Axes, analysis: IsoflopAnalysis, quantity: Quantity, letter: str, label: str
) -> None:
    flops = [valley.flops for valley in analysis.valleys] + [
        point.flops for point in analysis.points
    ]
    reach: list[float] = []
    for frontier in analysis.frontiers:
        _line(axes, frontier, quantity, letter)
        band: Band = getattr(frontier, quantity)
        reach += [
            value for x, value in zip(band.flops, band.value) if min(flops) <= x <= max(flops)
        ]
    held_out = {point.budget for point in analysis.points if point.held_out}
    for valley in analysis.valleys:
        estimate: Estimate = getattr(valley, quantity)
        _vertex(axes, valley.flops, estimate, valley.budget in held_out)
        reach += [
            bound for bound in (estimate.value, estimate.low, estimate.high) if bound is not None
        ]
    style.flops_axis(axes.xaxis, flops, [point.budget for point in analysis.points], 0.08)
    low, high = style.spread(reach, 0.05)
    style.log_axis(axes.yaxis, low, high * (high / low) ** 0.15)
    axes.set_xlabel("compute $C$ (FLOPs)")
    axes.set_ylabel(label)
    axes.legend(loc="upper left", borderaxespad=0.2, handletextpad=0.6)


def _line(axes: Axes, frontier: Frontier, quantity: Quantity, letter: str) -> None:
    colour, dashes = METHODS[frontier.method]
    band: Band = getattr(frontier, quantity)
    exponent = frontier.exponent_params if quantity == "params" else frontier.exponent_tokens
    words = f"{frontier.method}: ${letter}$ = {formatting.estimate(exponent)}"
    axes.plot(band.flops, band.value, color=colour, linestyle=dashes, label=words, zorder=3)
    style.ribbon(axes, band, colour)


def _vertex(axes: Axes, flops: float, estimate: Estimate, held_out: bool) -> None:
    colour = style.HELD_OUT if held_out else style.APPROACH_2
    face, words = ("white", "held out, not fitted") if held_out else (colour, None)
    style.bar(axes, estimate, flops, colour, along="y")
    axes.plot(
        flops,
        estimate.value,
        "D",
        color=colour,
        markerfacecolor=face,
        markersize=4.6,
        label=words,
        zorder=5,
    )
