"""The figures of a comparison; each contender has one colour and one mark in all of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm_lab.report import style
from lm_lab.report.analyses.comparison.results import RATE, Cell, Results, of
from lm_lab.report.stored import Row, budget

# Okabe and Ito's colours, which any colour vision can tell apart, without the yellow that vanishes
# on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1b1f24", "#7a5195")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


def styles(arms: Sequence[str]) -> dict[str, dict[str, str]]:
    """Colour and mark of each contender."""
    return {
        arm: {"color": COLOURS[place % len(COLOURS)], "marker": MARKS[place % len(MARKS)]}
        for place, arm in enumerate(arms)
    }


def costs(results: Results) -> Figure:
    """Three panels: bits per byte against compute, against seconds, and against parameters."""
    figure, panels = style.panels(style.PAGE_INCHES, 3.0, 3)
    looks = styles(list(results.settings.arms))
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
            )
        values = [quantity(cell) for cell in results.cells]
        if place:
            style.log_axis(axes.xaxis, *style.spread(values, 0.08), most=4)
            axes.tick_params(labelleft=False)
        else:
            style.flops_axis(axes.xaxis, values, results.budgets, 0.1)
        style.log_axis(axes.yaxis, *style.spread(_heights(results.cells), 0.06), most=8)
        axes.set_xlabel(label)
    panels[0].set_ylabel("held-out bits per byte")
    handles, labels = panels[0].get_legend_handles_labels()
    _legend(figure, handles, labels)
    return figure


def _line(
    axes: Axes, cells: Sequence[Cell], quantity: Callable[[Cell], float], look: Mapping[str, str]
) -> None:
    if not cells:
        return
    x, y = [quantity(cell) for cell in cells], [cell.bits_per_byte.value for cell in cells]
    axes.plot(
        x,
        y,
        color=look["color"],
        marker=look["marker"],
        markersize=4,
        linewidth=1.1,
        label=cells[0].arm,
    )
    for cell, place in zip(cells, x):
        style.bar(axes, cell.bits_per_byte, place, look["color"], along="y", cap=2)


def _heights(cells: Sequence[Cell]) -> list[float]:
    bounds = [(c.bits_per_byte.low, c.bits_per_byte.value, c.bits_per_byte.high) for c in cells]
    return [bound for three in bounds for bound in three if bound is not None]


def rates(results: Results, rows: Sequence[Row]) -> Figure:
    """The cost of a wrong peak rate for each contender at its best size, a panel a budget."""
    budgets = results.budgets
    figure, panels = style.panels(style.PAGE_INCHES, 2.7, len(budgets))
    looks = styles(list(results.settings.arms))
    top = 0.5
    for axes, compute in zip(panels, budgets):
        tried: list[float] = []
        for cell in results.at(compute):
            line = _by_rate(cell, of(results.settings, cell.arm, rows))
            excess = [100 * (loss / cell.bits_per_byte.value - 1) for loss in line.values()]
            look = looks[cell.arm]
            axes.plot(
                list(line),
                excess,
                look["marker"] + "-",
                color=look["color"],
                markersize=3,
                linewidth=0.9,
                label=cell.arm,
            )
            top, tried = max(top, *excess), [*tried, *line]
        style.log_axis(axes.xaxis, *style.spread(tried, 0.08), most=4)
        axes.set_title(f"{style.math_power(compute)} FLOPs")
        axes.set_xlabel("peak rate")
        axes.tick_params(labelleft=axes is panels[0])
    for axes in panels:  # one scale, so that heights can be compared
        axes.set_ylim(-0.05 * min(top, 30), min(top, 30) * 1.1)
    panels[0].set_ylabel("bits per byte above the best (%)")
    # a contender may lack some budget
    shown = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels())
    }
    labels = [arm for arm in looks if arm in shown]
    handles = [shown[arm] for arm in labels]
    _legend(figure, handles, labels)
    return figure


def _by_rate(cell: Cell, rows: Sequence[Row]) -> dict[float, float]:
    """Mean bits per byte over seeds by peak rate, at the cell's size and budget."""
    own = [row for row in rows if (budget(row), row["params"]) == (cell.budget, cell.params)]
    by_rate = {
        rate: [row["bits_per_byte"] for row in own if row[RATE] == rate]
        for rate in {row[RATE] for row in own}
    }
    return {rate: sum(values) / len(values) for rate, values in sorted(by_rate.items())}


def _legend(figure: Figure, handles: list[Any], labels: list[str]) -> None:
    words = [style.literal(label) for label in labels]
    figure.legend(
        handles, words, loc="outside upper center", ncols=min(len(labels), 4), handlelength=1.8
    )
