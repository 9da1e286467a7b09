"""Signed residuals of approach 3 against N, D, C and D/N; a trend means a wrong form."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import figure as drawings
from matplotlib.axes import Axes

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.scaling.records import IsoflopAnalysis, Point


def _flops(point: Point) -> float:
    return point.flops


PANELS: tuple[tuple[str, Callable[[Point], float]], ...] = (
    ("parameters $N$", lambda point: point.params),
    ("tokens $D$", lambda point: point.tokens),
    ("compute $C$ (FLOPs)", _flops),
    ("tokens a parameter $D/N$", lambda point: point.tokens / point.params),
)


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure | None:
    """The figure with its caption; None without a surface."""
    if all(point.residual is None for point in analysis.points):
        return None
    caption = (
        "What the surface of approach 3 leaves over, log(loss / predicted), against size, data, "
        "compute and tokens a parameter. Grey band: one residual s.d. of the fit; grey line: "
        "running mean of the fitted points. A trend here would be a fault of the form, not noise."
    )
    return Figure(
        "residuals",
        "Residuals of approach 3",
        caption,
        "Signed residuals of the surface against parameters, tokens, compute and tokens a "
        "parameter.",
        lambda: draw(analysis, source),
    )


def draw(analysis: IsoflopAnalysis, source: Source) -> drawings.Figure:
    """Four panels of log(loss / predicted) in percent; the grey band is one residual s.d."""
    drawing, panels = style.panels(style.PAGE_INCHES, 4.5, columns=2, rows=2)
    points = [point for point in analysis.points if point.residual is not None]
    colours = style.budget_colours([point.budget for point in points if not point.held_out])
    reach = max(abs(_percent(point)) for point in points) * 1.15 + 0.05
    for place, (axes, (label, quantity)) in enumerate(zip(panels, PANELS)):
        _frame(axes, analysis)
        _trend(axes, [point for point in points if not point.held_out], quantity)
        for budget in sorted({point.budget for point in points}):
            _dots(axes, [p for p in points if p.budget == budget], quantity, colours, source)
        values = [quantity(point) for point in points]
        if quantity is _flops:
            style.flops_axis(axes.xaxis, values, [point.budget for point in points], 0.08)
        else:
            style.log_axis(axes.xaxis, *style.spread(values, 0.08), most=5)
        axes.set_ylim(-reach, reach)
        axes.set_xlabel(label)
        axes.tick_params(labelleft=place % 2 == 0)
    drawing.supylabel("residual, log(loss / predicted) (%)", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        drawing.legend(handles, labels, loc="outside upper center", ncols=5, handletextpad=0.2)
    return drawing


def _percent(point: Point) -> float:
    return 100 * (point.residual or 0.0)


def _frame(axes: Axes, analysis: IsoflopAnalysis) -> None:
    axes.axhline(0, color=style.MUTED, linewidth=0.7, zorder=1)
    noise = analysis.surface.noise if analysis.surface is not None else None
    if noise is not None:
        axes.axhspan(
            -100 * noise, 100 * noise, color=style.FAINT, alpha=0.35, linewidth=0, zorder=0
        )


def _trend(axes: Axes, points: Sequence[Point], quantity: Callable[[Point], float]) -> None:
    """Means over a third of the points, which move along: what the eye should follow."""
    ordered = sorted(points, key=quantity)
    window = max(4, len(ordered) // 3)
    if len(ordered) < 2 * window:
        return
    ends = range(window, len(ordered) + 1)
    logs, residuals = np.log([quantity(p) for p in ordered]), [_percent(p) for p in ordered]
    x = [float(np.exp(np.mean(logs[end - window : end]))) for end in ends]
    y = [float(np.mean(residuals[end - window : end])) for end in ends]
    marks.curve(axes, x, y, "running mean", color=style.MUTED, linewidth=1.0, zorder=2)


def _dots(
    axes: Axes,
    points: Sequence[Point],
    quantity: Callable[[Point], float],
    colours: dict[float, str],
    source: Source,
) -> None:
    held_out, budget = points[0].held_out, points[0].budget
    colour = style.HELD_OUT if held_out else colours[budget]
    few = len(colours) <= 8
    label = "held out" if held_out else f"{style.math_power(budget)} FLOPs" if few else None
    marks.points(
        axes,
        [quantity(point) for point in points],
        [_percent(point) for point in points],
        "held out" if held_out else f"{formatting.power(budget)} FLOPs",
        words=[f"{source.words(point)}; residual {_percent(point):+.2f} %" for point in points],
        runs=[source.runs(point) for point in points],
        color=colour,
        markerfacecolor="white" if held_out else colour,
        markersize=4,
        label=label,
        zorder=3,
    )
