"""IsoFLOP valleys: loss against size at each budget, with the parabolas of approach 2."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib import figure as drawings
from matplotlib.axes import Axes

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.scaling.records import IsoflopAnalysis, Point, Valley

BESIDE = 6  # budgets whose names fit beside their curves
MOST_NAMES = 20  # budgets whose names fit into a legend; with more, colour alone tells them apart


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure | None:
    """The figure with its caption; None if no budget has the three sizes of a valley and a surface
    was fitted: its figure (one_at_a_time.py) has the same points, with curves.
    """
    sizes = Counter(point.budget for point in analysis.points)
    if max(sizes.values()) < 3 and analysis.surface is not None:
        return None
    hidden = above_frame(analysis, source)
    caption = (
        "Held-out loss against parameters N, one colour a compute budget. Solid: each size at the "
        "best of what else was tried, mean over seeds; grey: every run. Curves: approach 2, over "
        "the sizes that it was fitted to. Diamonds: their vertices, the compute-optimal sizes, "
        f"with {formatting.percent(analysis.level)} intervals of N*."
    )
    if any(point.held_out for point in analysis.points):
        caption += " Open and dashed: the held-out budget, which no law was fitted to."
    if _leaves(analysis):
        caption += " A bar that reaches the side of the frame goes on beyond it."
    if hidden:
        caption += (
            f" {formatting.many(hidden, 'run').capitalize()} far above lie outside the frame."
        )
    return Figure(
        "valleys",
        "IsoFLOP valleys",
        caption,
        "Loss against model size at each compute budget, with a parabola through each.",
        lambda: draw(analysis, source),
    )


def draw(analysis: IsoflopAnalysis, source: Source) -> drawings.Figure:
    """Draws all runs faint, the best of each size solid, and each parabola with its vertex.

    A bar at the vertex is the interval of N*.
    """
    drawing, (axes,) = style.panels(style.PAGE_INCHES, 4.1)
    colours = style.budget_colours(
        [point.budget for point in analysis.points if not point.held_out]
    )
    _runs(axes, analysis, source)
    for budget in sorted({point.budget for point in analysis.points}):
        points = sorted((p for p in analysis.points if p.budget == budget), key=lambda p: p.params)
        colour = style.HELD_OUT if points[0].held_out else colours[budget]
        valley = next((valley for valley in analysis.valleys if valley.budget == budget), None)
        if valley is not None:
            _valley(axes, valley, colour, _room(analysis), dashed=points[0].held_out)
        _points(axes, points, colour, source)
        if len(colours) <= BESIDE:
            _label(axes, points, valley, colour)
    if BESIDE < len(colours) <= MOST_NAMES:
        _key(axes, colours)
    style.log_axis(axes.xaxis, *_x_limits(analysis))
    axes.set_ylim(*_y_limits(analysis))
    axes.set_xlabel("parameters $N$")
    axes.set_ylabel(source.loss)
    return drawing


def above_frame(analysis: IsoflopAnalysis, source: Source) -> int:
    """The number of runs above the figure's frame: far from the best of any size."""
    top = _y_limits(analysis)[1]
    return sum(row["loss"] > top for row in source.rows)


def _runs(axes: Axes, analysis: IsoflopAnalysis, source: Source) -> None:
    top = _y_limits(analysis)[1]
    shown = [row for row in source.rows if row["loss"] <= top]
    marks.points(
        axes,
        [float(row["params"]) for row in shown],
        [float(row["loss"]) for row in shown],
        "every run",
        runs=[[str(row["name"])] if row.get("name") else [] for row in shown],
        words=[f"loss {formatting.plain(float(row['loss']))}" for row in shown],
        markersize=2.6,
        color=style.FAINT,
        markeredgewidth=0,
        zorder=1,
    )


def _points(axes: Axes, points: Sequence[Point], colour: str, source: Source) -> None:
    marks.points(
        axes,
        [point.params for point in points],
        [point.loss for point in points],
        f"best of each size, {formatting.power(points[0].budget)} FLOPs",
        words=[source.words(point) for point in points],
        runs=[source.runs(point) for point in points],
        color=colour,
        markerfacecolor="white" if points[0].held_out else colour,
        markersize=4.4,
        zorder=5,
    )


def _valley(
    axes: Axes, valley: Valley, colour: str, room: tuple[float, float], *, dashed: bool
) -> None:
    x = np.geomspace(valley.lowest_params, valley.highest_params, 80)
    marks.curve(
        axes,
        x,
        [valley.at(size) for size in x],
        f"parabola, {formatting.power(valley.budget)} FLOPs",
        color=colour,
        linestyle=(0, (4, 2)) if dashed else "-",
        zorder=3,
    )
    marks.estimates(
        axes,
        [valley.loss.value],
        [valley.params],
        f"vertex, {formatting.power(valley.budget)} FLOPs",
        along="x",
        within=room,
        words=[f"vertex: N* {_range(valley)}, loss {formatting.estimate(valley.loss)}"],
        markersize=7.5,
        color=colour,
        markerfacecolor="none",
        markeredgewidth=1.1,
        zorder=6,
    )


def _range(valley: Valley) -> str:
    shown = formatting.short(valley.params.value)
    if valley.params.low is None or valley.params.high is None:
        return shown
    return (
        f"{shown} [{formatting.short(valley.params.low)}, {formatting.short(valley.params.high)}]"
    )


def _label(axes: Axes, points: Sequence[Point], valley: Valley | None, colour: str) -> None:
    last = points[-1]
    is_fitted = valley is not None and last.params <= valley.highest_params
    height = valley.at(last.params) if valley is not None and is_fitted else last.loss
    text = f"{style.math_power(last.budget)} FLOPs" + ("\nheld out" if last.held_out else "")
    is_crossed = valley is not None and (valley.params.high or 0) > last.params
    axes.annotate(
        text,
        (last.params, height),
        xytext=(7, 1 if is_crossed else 0),
        textcoords="offset points",
        va="bottom" if is_crossed else "center",
        color=colour,
        fontsize=8.5,
        linespacing=1.1,
        zorder=7,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.9},
    )


def _key(axes: Axes, colours: dict[float, str]) -> None:
    """Names the budgets in a legend beside the frame, the largest budget (the lowest loss) last."""
    for budget, colour in colours.items():
        axes.plot([], [], "o-", color=colour, label=f"{style.math_power(budget)} FLOPs")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0, fontsize=7)


def _leaves(analysis: IsoflopAnalysis) -> bool:
    """Whether an interval of N* reaches beyond the frame."""
    low, high = _x_limits(analysis)
    bounds = [(valley.params.low, valley.params.high) for valley in analysis.valleys]
    return any(a is not None and b is not None and (a < low or b > high) for a, b in bounds)


def _x_limits(analysis: IsoflopAnalysis) -> tuple[float, float]:
    low, high = style.spread([point.params for point in analysis.points], 0.05)
    return low, high * (high / low) ** 0.12


def _room(analysis: IsoflopAnalysis) -> tuple[float, float]:
    """Where a mark shows whole."""
    low, high = _x_limits(analysis)
    margin = (high / low) ** 0.005
    return low * margin, high / margin


def _y_limits(analysis: IsoflopAnalysis) -> tuple[float, float]:
    losses = [point.loss for point in analysis.points]
    room = 0.07 * (max(losses) - min(losses)) + 0.01 * min(losses)
    return min(losses) - room, max(losses) + 2 * room
