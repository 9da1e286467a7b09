"""The figures of a comparison; each contender has one colour and one mark in all of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.comparison.arms import ended
from lm_lab.report.analyses.comparison.candidates import vertex, window
from lm_lab.report.analyses.comparison.cells import rates_at
from lm_lab.report.analyses.comparison.records import Cell, Multiplier, Results
from lm_lab.report.analyses.comparison.scale import Scale
from lm_lab.report.analyses.comparison.text import share
from lm_lab.report.curves import Curves, binned
from lm_lab.report.stored import Row


def costs(results: Results) -> Figure:
    """Three panels: the metric against compute, against seconds, and against parameters."""
    figure, panels = style.panels(style.PAGE_INCHES, 3.0, 3)
    scale = results.settings.scale
    looks = style.of_series(list(results.settings.arms))
    quantities: list[tuple[str, Callable[[Cell], float]]] = [
        ("training FLOPs", lambda cell: cell.flops),
        ("seconds of training", lambda cell: cell.seconds),
        ("parameters", lambda cell: cell.params_total),
    ]
    for place, (axes, (label, quantity)) in enumerate(zip(panels, quantities)):
        for arm, look in looks.items():
            _line(
                axes,
                sorted((c for c in results.cells if c.arm == arm), key=lambda c: c.budget),
                quantity,
                look,
                scale.noun,
            )
        values = [quantity(cell) for cell in results.cells]
        if place:
            style.log_axis(axes.xaxis, *style.spread(values, 0.08), most=4)
            axes.tick_params(labelleft=False)
        else:
            style.flops_axis(axes.xaxis, values, results.budgets, 0.1)
        _metric_axis(axes, _ends(results.cells), 0.06, scale)
        axes.set_xlabel(label)
    panels[0].set_ylabel(style.literal(scale.title))
    handles, labels = panels[0].get_legend_handles_labels()
    _legend(figure, handles, labels)
    return figure


def _line(
    axes: Axes,
    cells: Sequence[Cell],
    quantity: Callable[[Cell], float],
    look: Mapping[str, str],
    noun: str,
) -> None:
    if not cells:
        return
    x, y = [quantity(cell) for cell in cells], [cell.metric.value for cell in cells]
    axes.plot(x, y, color=look["color"], linewidth=1.1)
    axes.plot([], [], look["marker"] + "-", color=look["color"], markersize=4, label=cells[0].arm)
    marks.estimates(
        axes,
        x,
        [cell.metric for cell in cells],
        cells[0].arm,
        words=[_words(cell, noun) for cell in cells],
        runs=[cell.runs for cell in cells],
        cap=2,
        color=look["color"],
        marker=look["marker"],
        markersize=4,
    )


def _words(cell: Cell, noun: str) -> str:
    return (
        f"{cell.arm} at {formatting.power(cell.budget)} FLOPs: "
        f"{formatting.estimate(cell.metric)} {noun}, best size tried "
        f"{formatting.short(cell.params)}, peak rate {formatting.plain(cell.rate, 2)}"
    )


def _ends(cells: Sequence[Cell]) -> list[float]:
    """All values of the cells, and the ends of their intervals."""
    bounds = [(cell.metric.low, cell.metric.value, cell.metric.high) for cell in cells]
    return [bound for three in bounds for bound in three if bound is not None]


def _metric_axis(axes: Axes, values: Sequence[float], margin: float, scale: Scale) -> None:
    """The vertical axis of the metric: on a log scale where differences are ratios."""
    if scale.is_ratio:
        style.log_axis(axes.yaxis, *style.spread(values, margin), most=8)
        return
    low, high = min(values), max(values)
    room = margin * (high - low or 1.0)
    axes.set_ylim(low - room, high + room)


def rates(results: Results, rows: Sequence[Row]) -> Figure:
    """The cost of a wrong peak rate for each contender at its best size, a panel a budget."""
    budgets, scale = results.budgets, results.settings.scale
    figure, panels = style.panels(style.PAGE_INCHES, 2.7, len(budgets))
    looks = style.of_series(list(results.settings.arms))
    top = 0.5 if scale.is_ratio else 0.0
    for axes, compute in zip(panels, budgets):
        tried: list[float] = []
        for cell in results.at(compute):
            line = rates_at(cell, ended(results.settings, cell.arm, rows))
            heights = [height for height, _ in line.values()]
            excess = [_excess(height - min(heights), scale) for height in heights]
            look = looks[cell.arm]
            axes.plot([], [], look["marker"] + "-", color=look["color"], label=cell.arm)
            marks.points(
                axes,
                list(line),
                excess,
                cell.arm,
                words=[
                    f"{cell.arm}, peak rate {formatting.plain(rate, 2)}: "
                    f"{formatting.plain(scale.value(height), 4)} {scale.noun}"
                    for rate, height in zip(line, heights)
                ],
                runs=[names for _, names in line.values()],
                color=look["color"],
                marker=look["marker"],
                markersize=3,
                linewidth=0.9,
                linestyle="-",
            )
            top, tried = max(top, *excess), [*tried, *line]
        style.log_axis(axes.xaxis, *style.spread(tried, 0.08), most=4)
        axes.set_title(f"{style.math_power(compute)} FLOPs")
        axes.set_xlabel("peak rate")
        axes.tick_params(labelleft=axes is panels[0])
    top = min(top, 30) if scale.is_ratio else top or 1.0
    for axes in panels:  # one scale, so that heights can be compared
        axes.set_ylim(-0.05 * top, top * 1.1)
    unit = " (%)" if scale.is_ratio else ""
    panels[0].set_ylabel(style.literal(f"{scale.noun} {scale.worse} the best{unit}"))
    _legend(figure, *_shown(panels, list(looks)))
    return figure


def _excess(height: float, scale: Scale) -> float:
    """A difference of heights as it is drawn: in percent of a likelihood, else as it is."""
    return 100 * math.expm1(height) if scale.is_ratio else height


def valleys(results: Results) -> Figure:
    """Every contender's own sizes, a panel a budget, with the parabola through those near the
    lowest.
    """
    budgets = results.budgets
    figure, panels = style.panels(style.PAGE_INCHES, 2.9, len(budgets))
    looks = style.of_series(list(results.settings.arms))
    scale = results.settings.scale
    every = [size.metric for cell in results.cells for size in cell.tried]
    for axes, compute in zip(panels, budgets):
        for cell in results.at(compute):
            look = looks[cell.arm]
            sizes = [size.params for size in cell.tried]
            values = [size.metric for size in cell.tried]
            marks.points(
                axes,
                sizes,
                values,
                cell.arm,
                words=[
                    f"{cell.arm}, N {formatting.short(size.params)}, peak rate "
                    f"{formatting.plain(size.rate, 2)}: {formatting.plain(size.metric, 4)}"
                    for size in cell.tried
                ],
                runs=[size.runs for size in cell.tried],
                marker=look["marker"],
                color=look["color"],
                markersize=3.5,
            )
            curve = parabola(np.log(sizes), scale.heights(np.array(values)))
            if curve is not None:
                name = f"{cell.arm}, parabola"
                x, y = np.exp(curve[0]), scale.values(curve[1])
                marks.curve(axes, x, y, name, color=look["color"], linewidth=1.0)
            else:
                axes.plot(sizes, values, ":", color=look["color"], linewidth=0.8)
            axes.plot([], [], look["marker"] + "-", color=look["color"], label=cell.arm)
        tried = [size.params for cell in results.at(compute) for size in cell.tried]
        style.log_axis(axes.xaxis, *style.spread(tried, 0.08), most=4)
        _metric_axis(axes, every, 0.04, scale)
        axes.set_title(f"{style.math_power(compute)} FLOPs")
        axes.set_xlabel("parameters N")
        axes.tick_params(labelleft=axes is panels[0])
    panels[0].set_ylabel(style.literal(scale.title))
    _legend(figure, *_shown(panels, list(looks)))
    return figure


def multipliers(results: Results) -> Figure:
    """The reference's compute for each contender's loss, against the budget."""
    figure, (axes,) = style.panels(5.2, 3.2)
    looks = style.of_series(list(results.settings.arms))
    arms = [arm for arm in looks if any(item.arm == arm for item in results.multipliers)]
    values = [1.0]
    for place, arm in enumerate(arms):
        own = [item for item in results.multipliers if item.arm == arm]
        # a little apart, so that bars do not cover one another
        x = [item.budget * 1.07 ** (place - (len(arms) - 1) / 2) for item in own]
        y = [item.share.value for item in own]
        axes.plot(x, y, color=looks[arm]["color"], linewidth=0.9, alpha=0.6)
        for item, across in zip(own, x):
            values += _mark(axes, item, across, looks[arm])
        axes.plot([], [], looks[arm]["marker"] + "-", color=looks[arm]["color"], label=arm)
    axes.axhline(1.0, color=style.MUTED, linewidth=0.7, linestyle="--")
    style.flops_axis(axes.xaxis, results.budgets, results.budgets, 0.15)
    style.log_axis(axes.yaxis, *style.spread(values, 0.06), most=8)
    axes.set_xlabel("budget of the contender (FLOPs)")
    axes.set_ylabel(f"share of it that {style.literal(results.settings.reference)} needs")
    _legend(figure, *_shown([axes], arms))
    return figure


def _mark(axes: Axes, item: Multiplier, across: float, look: Mapping[str, str]) -> list[float]:
    """A multiplier, open where it is extrapolated, with an arrow where it has no upper end; the
    values that must be in the frame.
    """
    face = "white" if item.extrapolated else look["color"]
    value, low, high = item.share.value, item.share.low, item.share.high
    marker, colour = look["marker"], look["color"]
    marks.estimates(
        axes,
        [across],
        [item.share],
        item.arm,
        words=[f"{item.arm} at {formatting.power(item.budget)} FLOPs: {share(item)}"],
        cap=2,
        color=colour,
        marker=marker,
        markerfacecolor=face,
        markersize=4.5,
        zorder=5,
    )
    if low is None or high is not None:
        return [bound for bound in (value, low, high) if bound is not None]
    top = value * 1.5
    axes.annotate(
        "", (across, top), (across, low), arrowprops={"arrowstyle": "->", "color": colour}
    )
    return [value, low, top]


def learning(results: Results, curves: Curves, unit: str) -> Figure:
    """Training loss against compute of each contender's best runs, a panel a budget."""
    budgets = results.budgets
    figure, panels = style.panels(style.PAGE_INCHES, 2.9, len(budgets))
    looks = style.of_series(list(results.settings.arms))
    low, high = np.inf, 0.0
    for axes, compute in zip(panels, budgets):
        for cell in results.at(compute):
            for name in (name for name in cell.runs if name in curves):
                line = binned(curves[name])
                look = {"color": looks[cell.arm]["color"], "linewidth": 0.9, "alpha": 0.8}
                marks.curve(axes, line[0], line[1], f"{cell.arm}, run {name}", **look)
                marks.points(
                    axes,
                    line[0][-1:],
                    line[1][-1:],
                    f"{cell.arm}, ends",
                    words=[f"{cell.arm}: training loss {formatting.plain(line[1][-1])} at its end"],
                    runs=[[name]],
                    color=looks[cell.arm]["color"],
                    markersize=2.4,
                    markeredgewidth=0,
                )
                after = line[1][line[0] > 0.02 * compute]
                low, high = min(low, line[1].min()), max(high, after.max(initial=0.0))
            axes.plot([], [], color=looks[cell.arm]["color"], label=cell.arm)
        style.flops_axis(axes.xaxis, [0.01 * compute, compute], [], 0.02)
        axes.set_title(f"{style.math_power(compute)} FLOPs")
        axes.set_xlabel("compute (FLOPs)")
        axes.tick_params(labelleft=axes is panels[0])
    for axes in panels:
        style.log_axis(axes.yaxis, *style.spread([low, high], 0.05), most=8)
    panels[0].set_ylabel(f"training loss (nats per {unit})")
    _legend(figure, *_shown(panels, list(looks)))
    return figure


def parabola(x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Points [2 50] of the parabola through those near the lowest; None without a vertex."""
    if vertex(x, y) is None:
        return None
    near = window(x, y)
    curve = np.polynomial.Polynomial.fit(x[near], y[near], 2)
    grid = np.linspace(x[near].min(), x[near].max(), 50)
    return np.stack([grid, curve(grid)])


def _shown(panels: Sequence[Axes], arms: Sequence[str]) -> tuple[list[Any], list[str]]:
    """Handles and labels of the contenders that some panel shows; one may lack some budget."""
    found = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels())
    }
    labels = [arm for arm in arms if arm in found]
    return [found[arm] for arm in labels], labels


def _legend(figure: Figure, handles: list[Any], labels: list[str]) -> None:
    words = [style.literal(label) for label in labels]
    figure.legend(
        handles, words, loc="outside upper center", ncols=min(len(labels), 4), handlelength=1.8
    )
