"""N*(C) and D*(C): the compute-optimal split by approach 2 and by approach 3, with bootstrap bands."""

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm_lab.report import style, text
from lm_lab.scaling.records import Frontier, IsoflopAnalysis

METHODS = {"approach 2": (style.APPROACH_2, "-"), "approach 3": (style.APPROACH_3, (0, (5, 1.6)))}


def draw(analysis: IsoflopAnalysis) -> Figure:
    """Two panels: optimal parameters and optimal tokens against compute."""
    figure, (left, right) = style.panels(style.PAGE_INCHES, 3.1, columns=2)
    _panel(left, analysis, "params", "a", "optimal parameters $N$*")
    _panel(right, analysis, "tokens", "b", "optimal tokens $D$*")
    return figure


def _panel(
    axes: Axes, analysis: IsoflopAnalysis, quantity: Literal["params", "tokens"], letter: str, label: str
) -> None:
    reach: list[float] = []
    for frontier in analysis.frontiers:
        if frontier.method in METHODS:
            reach += _band(axes, frontier, quantity, letter)
    held_out = {point.budget for point in analysis.points if point.held_out}
    for valley in analysis.valleys:
        estimate = getattr(valley, quantity)
        hidden = valley.budget in held_out
        colour = style.HELD_OUT if hidden else style.APPROACH_2
        style.bar(axes, estimate, valley.flops, colour, along="y")
        face = "white" if hidden else colour
        label_ = "held out, not fitted" if hidden else None
        axes.plot(
            valley.flops,
            estimate.value,
            "D",
            color=colour,
            markerfacecolor=face,
            markersize=4.6,
            label=label_,
            zorder=5,
        )
        reach += [bound for bound in (estimate.value, estimate.low, estimate.high) if bound is not None]
    flops = [valley.flops for valley in analysis.valleys] + [point.flops for point in analysis.points]
    style.flops_axis(axes.xaxis, flops, [point.budget for point in analysis.points], 0.08)
    low, high = style.spread(reach, 0.05)
    style.log_axis(axes.yaxis, low, high * (high / low) ** 0.12)
    axes.set_xlabel("compute $C$ (FLOPs)")
    axes.set_ylabel(label)
    axes.legend(loc="upper left", borderaxespad=0.2, handletextpad=0.6)


def _band(axes: Axes, frontier: Frontier, quantity: Literal["params", "tokens"], letter: str) -> list[float]:
    colour, dashes = METHODS[frontier.method]
    band = getattr(frontier, quantity)
    exponent = frontier.exponent_params if quantity == "params" else frontier.exponent_tokens
    words = f"{frontier.method}: ${letter}$ = {text.estimate(exponent)}"
    axes.plot(band.flops, band.value, color=colour, linestyle=dashes, label=words, zorder=3)
    style.ribbon(axes, band, colour)
    return list(band.value)
