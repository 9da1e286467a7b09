"""The best peak rate and the best batch size against model size, with flags at edges of grids."""

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
from lm_lab.scaling.rates import optimum
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
        (label, optima_of_key)
        for key, label in KEYS
        if (optima_of_key := optima(rates.by_value(source.rows, key)))
    ]
    if not panels:
        return None
    all_optima = [best for _, optima_of_key in panels for best in optima_of_key]
    edges = sum(best.edge != 0 for best in all_optima)
    caption = (
        "The best of the grid against parameters N, a colour a budget: the vertex of the parabola "
        "in the log of the value through the best one and its neighbours. Triangles: the best lies "
        f"at that end of its grid, and the true one may lie beyond ({edges} of {len(all_optima)}). "
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
    best_by_size = []
    for compute, by_size in cells.items():
        for params, line in by_size.items():
            values, losses = list(line), [rates.mean_loss(same) for same in line.values()]
            best = values[int(np.argmin(losses))]
            vertex = optimum(np.array(values), np.array(losses)).value
            edge = _edge(values, best)
            best_by_size.append(
                Optimum(compute, params, vertex, edge, len(line), _names(line[best]))
            )
    return best_by_size


def _names(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(str(row["name"]) for row in rows if row.get("name"))


def _edge(values: Sequence[float], best: float) -> int:
    return 1 if best == max(values) else -1 if best == min(values) else 0


def draw(panels: Sequence[tuple[str, Sequence[Optimum]]], held_out: set[float]) -> drawings.Figure:
    """A panel a swept key."""
    width = style.PAGE_INCHES if len(panels) > 1 else 5.2
    drawing, axes = style.panels(width, 3.3, columns=len(panels))
    for panel, (label, optima_of_key) in zip(axes, panels):
        _panel(panel, optima_of_key, held_out)
        panel.set_ylabel(label)
    return drawing


def _panel(axes: Axes, optima_of_key: Sequence[Optimum], held_out: set[float]) -> None:
    budgets = sorted({best.budget for best in optima_of_key})
    colours = style.budget_colours([budget for budget in budgets if budget not in held_out])
    _law(axes, [best for best in optima_of_key if not best.edge])
    for place, budget in enumerate(budgets):
        # smaller on top of larger: the same optimum at two budgets shows both
        size = 4.4 + 3.0 * (1 - (place + 1) / len(budgets))
        colour = colours.get(budget, style.HELD_OUT)
        label = f"{style.math_power(budget)} FLOPs" if len(budgets) <= 8 else None
        for edge, marker in ((0, "o"), (-1, "v"), (1, "^")):
            same = [o for o in optima_of_key if (o.budget, o.edge) == (budget, edge)]
            flag = {0: "", -1: ", lowest of its grid", 1: ", highest of its grid"}[edge]
            marks.points(
                axes,
                [o.params for o in same],
                [o.value for o in same],
                f"{formatting.power(budget)} FLOPs{flag}",
                words=[
                    f"N {formatting.short(o.params)}: best {formatting.plain(o.value, 3)} of "
                    f"{o.tried} tried{flag}"
                    for o in same
                ],
                runs=[o.runs for o in same],
                marker=marker,
                color=colour,
                markerfacecolor="white" if edge else colour,
                markersize=size,
                zorder=3,
            )
        axes.plot([], [], "o", color=colour, markersize=4.4, label=label)
    style.log_axis(axes.xaxis, *style.spread([o.params for o in optima_of_key], 0.06))
    values = [o.value for o in optima_of_key]
    # a factor of two each way at least: equal optima are no reason to magnify
    style.log_axis(axes.yaxis, *style.spread([min(values) / 2, *values, max(values) * 2], 0.0))
    axes.set_xlabel("parameters $N$")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", borderaxespad=0.2, handletextpad=0.2)


def _law(axes: Axes, inside: Sequence[Optimum]) -> None:
    x = np.log([o.params for o in inside])
    if len(np.unique(x)) < 3:
        return
    slope, offset = np.polyfit(x, np.log([o.value for o in inside]), 1)
    ends = np.array([x.min(), x.max()])
    look = {"color": style.MUTED, "linewidth": 0.9, "linestyle": (0, (4, 2)), "zorder": 1}
    label = rf"$\propto N^{{{slope:.2f}}}$"
    marks.curve(axes, np.exp(ends), np.exp(offset + slope * ends), "power law", label=label, **look)
