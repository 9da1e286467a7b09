"""L(N) and L(D): loss against size alone and data alone, with the limits of the surface."""

import math

import numpy as np
from matplotlib import figure as drawings
from matplotlib.axes import Axes

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.scaling.records import IsoflopAnalysis, Point, Surface

QUANTILES = (0.1, 0.5, 0.9)  # of the other quantity, for which the surface is drawn


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure | None:
    """The figure with its caption; None without a surface."""
    surface = analysis.surface
    if surface is None:
        return None
    caption = (
        "Loss against parameters N (left) and tokens D (right). Black: the limits by the surface "
        "of approach 3, L(N) = E + A·N^−α with endless data and L(D) = E + B·D^−β with an endless "
        "model; coloured: the surface at the 10 %, 50 % and 90 % quantile of the other quantity "
        "among the points, and the points, darker for more of it (open: held out)."
    )
    return Figure(
        "one_at_a_time",
        "Loss against size and against data",
        caption,
        "Loss against parameters and loss against tokens, with curves of the fitted surface.",
        lambda: draw(analysis, surface, source),
    )


def draw(analysis: IsoflopAnalysis, surface: Surface, source: Source) -> drawings.Figure:
    """Two panels with one axis of loss."""
    drawing, panels = style.panels(style.PAGE_INCHES, 3.3, columns=2)
    losses = [point.loss for point in analysis.points]
    for place, axes in enumerate(panels):
        _panel(axes, analysis, surface, source, by_params=place == 0)
        limit = surface.E.value if surface.E.value > 0.5 * min(losses) else min(losses)
        style.log_axis(axes.yaxis, *style.spread([*losses, limit], 0.06), most=8)
    panels[0].set_ylabel(source.loss)
    panels[1].tick_params(labelleft=False)
    return drawing


def _panel(
    axes: Axes, analysis: IsoflopAnalysis, surface: Surface, source: Source, *, by_params: bool
) -> None:
    points = analysis.points
    other_values = [_pair(point, by_params)[1] for point in points]
    low, high = math.log(min(other_values)), math.log(max(other_values))

    def colour(other: float) -> tuple[float, float, float, float]:
        return style.SEQUENCE((math.log(other) - low) / max(high - low, 1e-9))

    limits = style.spread([_pair(point, by_params)[0] for point in points], 0.08)
    x = np.geomspace(*limits, 60)
    letter, unlimited = ("$D$", "$L(N)$") if by_params else ("$N$", "$L(D)$")
    for other in np.quantile(other_values, QUANTILES):
        y = [
            surface.at(*((coordinate, other) if by_params else (other, coordinate)))
            for coordinate in x
        ]
        label = f"{letter} = {formatting.short(float(other))}"
        look = {"color": colour(float(other)), "linewidth": 1.0, "label": label}
        marks.curve(axes, x, y, label.replace("$", ""), zorder=2, **look)
    y = [
        surface.at(*((coordinate, math.inf) if by_params else (math.inf, coordinate)))
        for coordinate in x
    ]
    look = {"color": style.INK, "linestyle": (0, (4, 1.6)), "label": f"{unlimited}, {letter} → ∞"}
    marks.curve(axes, x, y, unlimited.replace("$", ""), zorder=2, **look)
    for point in points:
        value, other = _pair(point, by_params)
        marks.points(
            axes,
            [value],
            [point.loss],
            "held out" if point.held_out else "points fitted",
            words=[source.words(point)],
            runs=[source.runs(point)],
            color=style.HELD_OUT if point.held_out else colour(other),
            markerfacecolor="white" if point.held_out else colour(other),
            markersize=3.6,
            zorder=4,
        )
    style.log_axis(axes.xaxis, *limits, most=6)
    axes.set_xlabel("parameters $N$" if by_params else "tokens $D$")
    axes.legend(loc="upper right", borderaxespad=0.2, labelspacing=0.25)


def _pair(point: Point, by_params: bool) -> tuple[float, float]:
    """The quantity of the panel, and the other."""
    size, data = point.params, point.tokens
    return (size, data) if by_params else (data, size)
