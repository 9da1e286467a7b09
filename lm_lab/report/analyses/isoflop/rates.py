"""Peak-rate sensitivity: the excess loss of a wrong peak rate, by size and budget."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from matplotlib import figure as drawings
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.report.stored import Row, budget
from lm_lab.scaling.records import IsoflopAnalysis

RATE = "optimizer.peak_rate"
_PANELS_A_ROW = 4

Cells = dict[float, dict[float, dict[float, list[Row]]]]
"""Runs by budget, parameters and the value of a swept key, each in rising order."""


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure | None:
    """The figure with its caption; None where no size was run at two rates."""
    del analysis
    cells = by_value(source.rows, RATE)
    if not cells:
        return None
    lines = [line for by_size in cells.values() for line in by_size.values()]
    runs = sum(len(same) for line in lines for same in line.values())
    caption = (
        "What a wrong peak rate costs: loss above that of the best rate tried, mean over seeds, a "
        "line a model size N (darker is larger). Large dots: the best rate, open where it lies at "
        f"either end of its line and so is not known to be the best. {runs:,} runs; sizes of one "
        "rate are left out."
    )
    return Figure(
        "rates",
        "Peak-rate sensitivity",
        caption,
        "Excess loss against peak rate for each model size, a panel a budget.",
        lambda: draw(cells),
    )


def by_value(rows: Sequence[Row], key: str) -> Cells:
    """Groups runs by budget, parameters and the value of `key`; drops sizes of one value."""
    cells: dict[tuple[float, float, float], list[Row]] = defaultdict(list)
    for row in rows:
        if isinstance(row.get(key), int | float):
            cells[budget(row), float(row["params"]), float(row[key])].append(row)
    lines: Cells = {}
    for (compute, params, value), same in sorted(cells.items(), key=lambda cell: cell[0]):
        lines.setdefault(compute, {}).setdefault(params, {})[value] = same
    tuned = {
        b: {n: line for n, line in by_size.items() if len(line) > 1} for b, by_size in lines.items()
    }
    return {compute: by_size for compute, by_size in tuned.items() if by_size}


def mean_loss(rows: Sequence[Row]) -> float:
    """The mean loss of runs that differ in their seed."""
    return float(np.mean([row["loss"] for row in rows]))


def draw(cells: Cells) -> drawings.Figure:
    """A panel a budget: loss above the best rate's, in percent; a line a size, darker is larger."""
    rows = -(-len(cells) // _PANELS_A_ROW)
    columns = min(len(cells), _PANELS_A_ROW)
    width = style.PAGE_INCHES * max(columns, 2) / _PANELS_A_ROW
    most = max(len(by_size) for by_size in cells.values())
    drawing, panels = style.panels(width, (2.3 + 0.075 * most) * rows, columns, rows)
    tops = [_panel(axes, compute, cells[compute]) for axes, compute in zip(panels, cells)]
    for place, axes in enumerate(panels):
        axes.set_visible(place < len(cells))
        axes.set_xlabel("peak rate")
        axes.set_ylim(-0.07 * max(tops), 1.07 * max(tops))
        axes.tick_params(labelleft=place % columns == 0)
    drawing.supylabel("loss above the best rate (%)", fontsize=9)
    return drawing


def _panel(axes: Axes, compute: float, by_size: dict[float, dict[float, list[Row]]]) -> float:
    sizes = sorted(by_size)
    top = 0.1
    for rank, params in enumerate(sizes):
        line = {rate: mean_loss(rows) for rate, rows in by_size[params].items()}
        colour = to_hex(style.SEQUENCE(rank / max(1, len(sizes) - 1)))
        top = max(top, _line(axes, params, line, by_size[params], colour))
    rates = [rate for line in by_size.values() for rate in line]
    style.log_axis(axes.xaxis, *style.spread(rates, 0.08), most=3)
    axes.set_title(f"{style.math_power(compute)} FLOPs", color=style.INK)
    axes.legend(
        title="$N$",
        title_fontsize=7,
        fontsize=7,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.3),
        ncols=2,
        handlelength=1.1,
        labelspacing=0.2,
        columnspacing=0.9,
        borderaxespad=0.1,
    )
    return top


def _line(
    axes: Axes, params: float, line: dict[float, float], rows: dict[float, list[Row]], colour: str
) -> float:
    """Draws the excess loss of a size; returns the highest."""
    best = min(line, key=lambda rate: line[rate])
    rates, excess = list(line), [100 * (loss / line[best] - 1) for loss in line.values()]
    size = formatting.short(params)
    axes.plot(rates, excess, "-", color=colour, linewidth=0.9, label=size, zorder=2)
    marks.points(
        axes,
        rates,
        excess,
        f"N = {size}",
        words=[
            f"N {size}, peak rate {formatting.plain(rate, 3)}; loss {formatting.plain(line[rate])}"
            for rate in rates
        ],
        runs=[[str(row["name"]) for row in rows[rate] if row.get("name")] for rate in rates],
        color=colour,
        markersize=2,
        zorder=3,
    )
    face = "white" if best in (min(rates), max(rates)) else colour
    axes.plot(best, 0, "o", color=colour, markerfacecolor=face, markersize=4.6, zorder=4)
    return max(excess)
