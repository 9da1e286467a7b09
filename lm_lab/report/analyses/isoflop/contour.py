"""Contours of L(N, D) of approach 3 with its efficient frontier, over the points that were run."""

import numpy as np
from matplotlib import figure as drawings

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.scaling.records import IsoflopAnalysis, Surface

LEVELS = 9


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure | None:
    """The figure with its caption; None without a surface."""
    surface = analysis.surface
    if surface is None:
        return None
    caption = (
        f"Loss by the surface of approach 3 (nats per {source.unit}) over compute and parameters: "
        "on a vertical line compute is fixed. Dashed: the efficient frontier N*(C). Points: what "
        "was run (open: held out); the surface is extrapolated where there are none."
    )
    return Figure(
        "contour",
        "Loss over size and compute",
        caption,
        "Contours of the fitted loss over compute and parameters, with the efficient frontier.",
        lambda: draw(analysis, surface, source),
    )


def draw(analysis: IsoflopAnalysis, surface: Surface, source: Source) -> drawings.Figure:
    """Contours over (C, N), D being C over the cost of a token measured in the points."""
    drawing, (axes,) = style.panels(5.6, 3.9)
    points = analysis.points
    x_limits = style.spread([point.flops for point in points], 0.08)
    y_limits = style.spread([point.params for point in points], 0.1)
    flops, params = np.geomspace(*x_limits, 90), np.geomspace(*y_limits, 90)
    sizes = np.log([point.params for point in points])
    order = np.argsort(sizes)
    costs = np.log([point.flops / point.tokens for point in points])
    cost = np.exp(np.interp(np.log(params), sizes[order], costs[order] - sizes[order])) * params
    loss = _loss(surface, params[:, None], flops / cost[:, None])
    losses = [point.loss for point in points]
    levels = np.geomspace(min(losses) * 0.97, max(losses) * 1.12, LEVELS)
    lines = axes.contour(
        flops, params, loss, levels=levels, cmap=style.SEQUENCE.reversed(), linewidths=0.9
    )
    axes.clabel(lines, fmt=lambda level: formatting.plain(level, 3), fontsize=7)
    frontier = analysis.frontier("approach 3")
    if frontier is not None:
        look = {"color": style.APPROACH_3, "linestyle": (0, (4, 1.6)), "linewidth": 1.5}
        band = frontier.params
        marks.curve(axes, band.flops, band.value, "efficient frontier", **look, zorder=4)
    for held_out in (False, True):
        shown = [point for point in points if point.held_out == held_out]
        colour = style.HELD_OUT if held_out else style.INK
        marks.points(
            axes,
            [point.flops for point in shown],
            [point.params for point in shown],
            "held out" if held_out else "points fitted",
            words=[source.words(point) for point in shown],
            runs=[source.runs(point) for point in shown],
            color=colour,
            markerfacecolor="white" if held_out else colour,
            markersize=3.2,
            zorder=5,
        )
    style.flops_axis(axes.xaxis, x_limits, [point.budget for point in points], 0)
    style.log_axis(axes.yaxis, *y_limits)
    axes.set_xlabel("compute $C$ (FLOPs)")
    axes.set_ylabel("parameters $N$")
    return drawing


def _loss(surface: Surface, params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    size = surface.A.value * params**-surface.alpha.value
    return surface.E.value + size + surface.B.value * tokens**-surface.beta.value
