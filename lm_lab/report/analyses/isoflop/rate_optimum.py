"""The best peak rate and the best batch size against model size, with flags at edges of grids."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import figure as drawings
from matplotlib.axes import Axes

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.isoflop import rates
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.report.stored import Row
from lm_lab.scaling.records import IsoflopAnalysis

KEYS = (
    (rates.RATE, "peak rate"),
    ("train.batch_size", "batch size (windows a step)"),
)


@dataclass(frozen=True)
class Optimum:
    """The best value of a swept key for one size at one budget.

    `value` is the vertex of the parabola in the log of the value through the best of the grid and
    its two neighbours. At an `edge` of the grid (-1 its lowest, 1 its highest) it is the best
    tried, and the true one may lie beyond.
    """

    budget: float
    params: float
    value: float
    edge: int
    tried: int
    runs: tuple[str, ...]


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure | None:
    """The figure with its caption; None where no size was run at two rates or batch sizes."""
    held_out = {point.budget for point in analysis.points if point.held_out}
    panels = [
        (label, found) for key, label in KEYS if (found := optima(rates.by_value(source.rows, key)))
    ]
    if not panels:
        return None
    every = [optimum for _, found in panels for optimum in found]
    edges = sum(optimum.edge != 0 for optimum in every)
    caption = (
        "The best of the grid against parameters N, a colour a budget: the vertex of the parabola "
        "in the log of the value through the best one and its neighbours. Triangles: the best lies "
        f"at that end of its grid, and the true one may lie beyond ({edges} of {len(every)}). "
        "Means over seeds; sizes with one value are left out. N: parameters of matrix products, "
        "head included. Line: the power law through those that are not at an edge, if there are "
        "three sizes or more."
    )
    return Figure(
        "rate_optimum",
        "Best rate and batch size against model size",
        caption,
        "Best peak rate and batch size against parameters, with flags where it is at an edge.",
        lambda: draw(panels, held_out),
    )


def optima(cells: rates.Cells) -> list[Optimum]:
    """The optimum of each size at each budget."""
    found = []
    for compute, by_size in cells.items():
        for params, line in by_size.items():
            losses = {value: rates.mean_loss(same) for value, same in line.items()}
            best = min(losses, key=lambda value: losses[value])
            value, edge = _vertex(losses)
            found.append(
                Optimum(compute, params, value, edge, len(line), _names(line[best])),
            )
    return found


def _names(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(str(row["name"]) for row in rows if row.get("name"))


def _vertex(losses: dict[float, float]) -> tuple[float, int]:
    """The value of the lowest loss, and the edge of the grid that it lies at."""
    values = sorted(losses)
    place = min(range(len(values)), key=lambda i: losses[values[i]])
    if place in (0, len(values) - 1):
        return values[place], 1 if place else -1
    near = values[place - 1 : place + 2]
    x, y = np.log(near), np.array([losses[value] for value in near])
    _, slope, curvature = np.polynomial.polynomial.polyfit(x - x[1], y, 2)
    if curvature <= 0:
        return values[place], 0
    return math.exp(x[1] - slope / (2 * curvature)), 0


def draw(panels: Sequence[tuple[str, Sequence[Optimum]]], held_out: set[float]) -> drawings.Figure:
    """A panel a swept key."""
    width = style.PAGE_INCHES if len(panels) > 1 else 5.2
    drawing, axes = style.panels(width, 3.3, columns=len(panels))
    for each, (label, found) in zip(axes, panels):
        _panel(each, found, held_out)
        each.set_ylabel(label)
    return drawing


def _panel(axes: Axes, found: Sequence[Optimum], held_out: set[float]) -> None:
    budgets = sorted({optimum.budget for optimum in found})
    colours = style.budget_colours([budget for budget in budgets if budget not in held_out])
    _law(axes, [optimum for optimum in found if not optimum.edge])
    for budget in budgets:
        colour = colours.get(budget, style.HELD_OUT)
        label = f"{style.math_power(budget)} FLOPs" if len(budgets) <= 8 else None
        for edge, marker in ((0, "o"), (-1, "v"), (1, "^")):
            same = [o for o in found if (o.budget, o.edge) == (budget, edge)]
            flag = {0: "", -1: ", lowest of its grid", 1: ", highest of its grid"}[edge]
            marks.points(
                axes,
                [optimum.params for optimum in same],
                [optimum.value for optimum in same],
                f"{formatting.power(budget)} FLOPs{flag}",
                words=[
                    f"N {formatting.short(o.params)}: best {formatting.plain(o.value, 3)} of "
                    f"{o.tried} tried{flag}"
                    for o in same
                ],
                runs=[optimum.runs for optimum in same],
                marker=marker,
                color=colour,
                markerfacecolor="white" if edge else colour,
                markersize=5 if edge else 4.4,
                zorder=3,
            )
        axes.plot([], [], "o", color=colour, markersize=4.4, label=label)
    style.log_axis(axes.xaxis, *style.spread([optimum.params for optimum in found], 0.06))
    style.log_axis(axes.yaxis, *style.spread([optimum.value for optimum in found], 0.1))
    axes.set_xlabel("parameters $N$")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", borderaxespad=0.2, handletextpad=0.2)


def _law(axes: Axes, inside: Sequence[Optimum]) -> None:
    x = np.log([optimum.params for optimum in inside])
    if len(np.unique(x)) < 3:
        return
    slope, offset = np.polyfit(x, np.log([optimum.value for optimum in inside]), 1)
    ends = np.array([x.min(), x.max()])
    look = {"color": style.MUTED, "linewidth": 0.9, "linestyle": (0, (4, 2)), "zorder": 1}
    label = rf"$\propto N^{{{slope:.2f}}}$"
    marks.curve(axes, np.exp(ends), np.exp(offset + slope * ends), "power law", label=label, **look)
