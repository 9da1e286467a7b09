"""IsoFLOP valleys: loss against size at each budget, with the parabolas of approach 2."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm_lab.report import style
from lm_lab.report.stored import Row
from lm_lab.scaling.records import IsoflopAnalysis, Point, Valley


def draw(analysis: IsoflopAnalysis, rows: Sequence[Row], unit: str = "token") -> Figure:
    """Draws all runs faint, the best of each size solid, and each parabola with its vertex.

    A bar at the vertex is the interval of N*.
    """
    figure, (axes,) = style.panels(style.PAGE_INCHES, 4.1)
    colours = style.budget_colours(
        [point.budget for point in analysis.points if not point.held_out]
    )
    _runs(axes, analysis, rows)
    for budget in sorted({point.budget for point in analysis.points}):
        points = sorted((p for p in analysis.points if p.budget == budget), key=lambda p: p.params)
        colour = style.HELD_OUT if points[0].held_out else colours[budget]
        _points(axes, points, colour)
        valley = next((valley for valley in analysis.valleys if valley.budget == budget), None)
        if valley is not None:
            _valley(axes, valley, colour, dashed=points[0].held_out)
        _label(axes, points, valley, colour)
    style.log_axis(axes.xaxis, *_x_limits(analysis))
    axes.set_ylim(*_y_limits(analysis))
    axes.set_xlabel("parameters $N$")
    axes.set_ylabel(f"held-out loss (nats per {unit})")
    return figure


def above_frame(analysis: IsoflopAnalysis, rows: Sequence[Row]) -> int:
    """The number of runs above the figure's frame: far from the best of any size."""
    top = _y_limits(analysis)[1]
    return sum(row["loss"] > top for row in rows)


def _runs(axes: Axes, analysis: IsoflopAnalysis, rows: Sequence[Row]) -> None:
    top = _y_limits(analysis)[1]
    shown = [row for row in rows if row["loss"] <= top]
    axes.plot(
        [row["params"] for row in shown],
        [row["loss"] for row in shown],
        linestyle="none",
        marker="o",
        markersize=2.6,
        color=style.FAINT,
        markeredgewidth=0,
        zorder=1,
    )


def _points(axes: Axes, points: Sequence[Point], colour: str) -> None:
    face = "white" if points[0].held_out else colour
    x, y = [p.params for p in points], [p.loss for p in points]
    axes.plot(
        x,
        y,
        linestyle="none",
        marker="o",
        color=colour,
        markerfacecolor=face,
        markersize=4.4,
        zorder=4,
    )


def _valley(axes: Axes, valley: Valley, colour: str, *, dashed: bool) -> None:
    x = np.geomspace(valley.lowest_params, valley.highest_params, 80)
    axes.plot(
        x,
        [valley.at(size) for size in x],
        color=colour,
        linestyle=(0, (4, 2)) if dashed else "-",
        zorder=3,
    )
    style.bar(axes, valley.params, valley.loss.value, colour, along="x")
    axes.plot(
        valley.params.value,
        valley.loss.value,
        marker="D",
        markersize=5.5,
        color=colour,
        markerfacecolor="white",
        markeredgewidth=1.2,
        zorder=6,
    )


def _label(axes: Axes, points: Sequence[Point], valley: Valley | None, colour: str) -> None:
    last = points[-1]
    height = valley.at(last.params) if valley is not None else last.loss
    words = f"{style.math_power(last.budget)} FLOPs" + ("\nheld out" if last.held_out else "")
    axes.annotate(
        words,
        (last.params, max(height, last.loss) if valley is None else height),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        color=colour,
        fontsize=8.5,
        linespacing=1.1,
    )


def _x_limits(analysis: IsoflopAnalysis) -> tuple[float, float]:
    low, high = style.spread([point.params for point in analysis.points], 0.05)
    return low, high * (high / low) ** 0.12


def _y_limits(analysis: IsoflopAnalysis) -> tuple[float, float]:
    losses = [point.loss for point in analysis.points]
    room = 0.07 * (max(losses) - min(losses)) + 0.01 * min(losses)
    return min(losses) - room, max(losses) + 2 * room
