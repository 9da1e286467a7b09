"""Training curves of all runs against compute, with their lower envelope."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm_lab.report import style

Curves = Mapping[str, Sequence[Mapping[str, Any]]]
"""The records of metrics.jsonl, by run name."""

_BINS = 60


def draw(
    runs: Sequence[tuple[str, float]], curves: Curves, held_out: float | None, unit: str = "token"
) -> Figure:
    """Draws a line for each run (name, budget) and the lower envelope of all.

    The training loss is averaged within steps of compute; `unit` (token, byte) labels the loss.
    """
    figure, (axes,) = style.panels(5.2, 3.5)
    lines = {name: binned(curves[name]) for name, _ in runs if name in curves}
    shown = [(name, budget) for name, budget in runs if name in lines and lines[name].shape[1] > 1]
    colours = style.budget_colours([budget for _, budget in shown if budget != held_out])
    for name, budget in shown:
        axes.plot(
            *lines[name],
            color=colours.get(budget, style.HELD_OUT),
            linewidth=0.5,
            alpha=0.45,
            zorder=2,
        )
    drawn = [lines[name] for name, _ in shown]
    axes.plot(*envelope(drawn), color=style.INK, linewidth=1.3, zorder=4, label="lowest so far")
    budgets = sorted({budget for _, budget in shown})
    for budget in budgets if len(budgets) <= 8 else ():
        name = f"{style.math_power(budget)} FLOPs" + (", held out" if budget == held_out else "")
        axes.plot([], [], color=colours.get(budget, style.HELD_OUT), linewidth=1.4, label=name)
    _frame(axes, drawn, unit)
    return figure


def drawable(curves: Curves) -> bool:
    """Whether any run logged its training loss at two or more values of compute."""
    return any(binned(records).shape[1] > 1 for records in curves.values())


def binned(records: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """FLOPs and mean training loss f64[2 K], averaged in K <= 60 equal steps of log compute."""
    pairs = [
        (r["flops"], r["train/nll"])
        for r in records
        if r.get("flops", 0) > 0 and r.get("train/nll") is not None
    ]
    points = (
        np.array([pair for pair in pairs if np.isfinite(pair).all()], dtype=np.float64)
        .reshape(-1, 2)
        .T
    )
    if points.shape[1] <= _BINS:
        return points
    x = np.log(points[0])
    place = np.clip(((x - x[0]) / max(x[-1] - x[0], 1e-12) * _BINS).astype(int), 0, _BINS - 1)
    filled = np.unique(place)
    means = (
        [np.exp(x[place == index].mean()) for index in filled],
        [points[1][place == index].mean() for index in filled],
    )
    return np.array(means)


def envelope(lines: Sequence[np.ndarray]) -> np.ndarray:
    """The lowest loss that any line has reached at each compute: f64[2 200]."""
    grid = np.geomspace(min(line[0, 0] for line in lines), max(line[0, -1] for line in lines), 200)
    heights = [np.interp(np.log(grid), np.log(x), y, left=np.inf, right=np.inf) for x, y in lines]
    return np.array([grid, np.minimum.accumulate(np.min(heights, axis=0))])


def _frame(axes: Axes, lines: Sequence[np.ndarray], unit: str) -> None:
    x = np.concatenate([line[0] for line in lines])
    y = np.concatenate([line[1] for line in lines])
    style.flops_axis(axes.xaxis, [x.min(), x.max()], [], 0.03)
    style.log_axis(axes.yaxis, *style.spread([y.min(), y.max()], 0.05), most=8)
    axes.set_xlabel("compute (FLOPs)")
    axes.set_ylabel(f"training loss (nats per {unit})")
    axes.legend(loc="upper right", borderaxespad=0.2)
