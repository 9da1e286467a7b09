"""Training curves against compute, with the envelope of their comparable parts.

While the learning rate still decays, the loss is higher than that of a run that ends at the same
compute (2203.15556, 2405.18392). The envelope therefore uses only the parts of a curve where the
rate is the same share of its peak as at the end of the run: the whole curve at a constant rate,
only the end if the rate decays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import figure as drawings
from matplotlib.axes import Axes

from lm_lab.report import formatting, marks, style
from lm_lab.report.page import Figure

Curves = Mapping[str, Sequence[Mapping[str, Any]]]
"""The records of metrics.jsonl, by run name."""

_BINS = 60
_SAME_SHARE = 0.02  # of the peak rate: shares this close are the same stage of decay


@dataclass(frozen=True)
class Line:
    """A run's curve: its colour, and the group of it in the legend (a budget, an architecture)."""

    run: str
    group: str
    colour: str


def figure(lines: Sequence[Line], curves: Curves, unit: str) -> Figure | None:
    """The figure of the curves with its caption; None where no run logged two losses."""
    drawn = [line for line in lines if line.run in curves and _is_line(curves[line.run])]
    if not drawn:
        return None
    falls = any(len(comparable(curves[line.run])[0]) < 2 for line in drawn)
    stage = (
        "their ends alone, because the rate falls to the end of the runs and a loss before it is "
        "of another stage of decay"
        if falls
        else "the parts at the rate of the end"
    )
    caption = (
        f"Training loss of {formatting.many(len(drawn), 'run')} against compute (every complete "
        "run that logged it). Black: the lowest that any of them reached with no more compute, of "
        f"{stage}. C: counted FLOPs, forward and backward; losses are means between two logs."
    )
    return Figure(
        "curves",
        "Training curves",
        caption,
        "Training loss against compute for all runs, with the lower envelope.",
        lambda: draw(drawn, curves, unit),
    )


def budget_lines(runs: Sequence[tuple[str, float]], held_out: float | None) -> list[Line]:
    """The lines of runs (name, budget in FLOPs), one colour for each budget."""
    colours = style.budget_colours([budget for _, budget in runs if budget != held_out])
    return [
        Line(
            name,
            f"{style.math_power(budget)} FLOPs" + (", held out" if budget == held_out else ""),
            colours.get(budget, style.HELD_OUT),
        )
        for name, budget in sorted(runs, key=lambda run: run[1])
    ]


def draw(lines: Sequence[Line], curves: Curves, unit: str = "token") -> drawings.Figure:
    """Draws each run's line and the envelope of all; `unit` (token, byte) labels the loss.

    The training loss is averaged within steps of compute.
    """
    drawing, (axes,) = style.panels(5.2, 3.5)
    binned_lines = [binned(curves[line.run]) for line in lines]
    for line, values in zip(lines, binned_lines):
        look = {"color": line.colour, "linewidth": 0.5, "alpha": 0.45, "zorder": 2}
        marks.curve(axes, values[0], values[1], f"run {line.run}", **look)
    same = [comparable(curves[line.run]) for line in lines]
    ends = [(line, x[-1], y[-1]) for line, (x, y) in zip(lines, same) if len(x)]
    marks.points(
        axes,
        [float(x) for _, x, _ in ends],
        [float(y) for _, _, y in ends],
        "ends of runs",
        words=[f"training loss {formatting.plain(float(y))} at its end" for _, _, y in ends],
        runs=[[line.run] for line, _, _ in ends],
        color=style.INK,
        markersize=1.8,
        markeredgewidth=0,
        zorder=3,
    )
    look = {"color": style.INK, "linewidth": 1.3, "drawstyle": "steps-post"}
    x, y = envelope(same)
    marks.curve(axes, x, y, "lowest so far", **look, zorder=4, label="lowest so far")
    groups = {line.group: line.colour for line in lines}
    for group, colour in groups.items() if len(groups) <= 8 else ():
        axes.plot([], [], color=colour, linewidth=1.4, label=group)
    _frame(axes, binned_lines, unit)
    return drawing


def binned(records: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """FLOPs and mean training loss f64[2 K], averaged in K <= 60 equal steps of log compute."""
    points = _logged(records)[:2]
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


def comparable(records: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """FLOPs and training loss f64[2 K] after the warm-up where the rate is the same share of its
    peak as at the end; only the end for a run that logged no rate.
    """
    flops, loss, rate = _logged(records)
    if not len(flops):
        return np.empty((2, 0))
    if np.isnan(rate).any():
        return np.array([flops[-1:], loss[-1:]])
    share = rate / max(rate.max(), 1e-300)
    same = (np.arange(len(rate)) >= np.argmax(rate)) & (np.abs(share - share[-1]) <= _SAME_SHARE)
    first = len(same) - np.argmin(same[::-1]) if not same.all() else 0  # the last unbroken part
    return np.array([flops[first:], loss[first:]])


def envelope(lines: Sequence[np.ndarray]) -> np.ndarray:
    """The lowest loss that any line has reached with no more compute: f64[2 K], where it falls."""
    x, y = np.concatenate([line for line in lines if line.shape[1]], axis=1)
    order = np.lexsort((y, x))
    x, y = x[order], np.minimum.accumulate(y[order])
    falls = np.concatenate([[True], np.diff(y) < 0])
    falls[-1] = True  # the envelope extends to the largest compute of any line
    return np.array([x[falls], y[falls]])


def _is_line(records: Sequence[Mapping[str, Any]]) -> bool:
    return _logged(records).shape[1] > 1


def _logged(records: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """FLOPs, training loss and rate (NaN where it was not logged) f64[3 K] of finite losses."""
    rows = [
        (r["flops"], r["train/nll"], r.get("rate", np.nan))
        for r in records
        if r.get("flops", 0) > 0 and r.get("train/nll") is not None
    ]
    values = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return values[:, np.isfinite(values[:2]).all(0)]


def _frame(axes: Axes, lines: Sequence[np.ndarray], unit: str) -> None:
    x = np.concatenate([line[0] for line in lines])
    y = np.concatenate([line[1] for line in lines])
    style.flops_axis(axes.xaxis, [x.min(), x.max()], [], 0.03)
    style.log_axis(axes.yaxis, *style.spread([y.min(), y.max()], 0.05), most=8)
    axes.set_xlabel("compute $C$ (FLOPs)")
    axes.set_ylabel(f"training loss (nats per {unit})")
    axes.legend(loc="upper right", borderaxespad=0.2)
