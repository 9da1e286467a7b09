"""Peak-rate sensitivity: what a wrong peak rate costs, by size and budget."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from lm_lab.report import formatting, style
from lm_lab.report.stored import Row, budget

_PANELS_A_ROW = 4

Lines = dict[float, dict[float, dict[float, float]]]


def mean_losses(rows: Sequence[Row], rate_key: str) -> Lines:
    """Mean loss over seeds by budget, parameters and peak rate; drops cells of one rate."""
    cells: dict[tuple[float, float, float], list[float]] = defaultdict(list)
    for row in rows:
        if row.get(rate_key) is not None:
            cells[budget(row), row["params"], row[rate_key]].append(row["loss"])
    lines: Lines = {}
    for (compute, params, rate), losses in sorted(cells.items()):
        lines.setdefault(compute, {}).setdefault(params, {})[rate] = float(np.mean(losses))
    tuned = {
        b: {n: line for n, line in by_size.items() if len(line) > 1} for b, by_size in lines.items()
    }
    return {compute: by_size for compute, by_size in tuned.items() if by_size}


def draw(lines: Lines) -> Figure:
    """A panel a budget: loss above the best rate's, in percent; a line a size, darker is larger."""
    rows = -(-len(lines) // _PANELS_A_ROW)
    columns = min(len(lines), _PANELS_A_ROW)
    width = style.PAGE_INCHES * max(columns, 2) / _PANELS_A_ROW
    figure, panels = style.panels(width, 2.6 * rows, columns, rows)
    tops = [_panel(axes, compute, lines[compute]) for axes, compute in zip(panels, lines)]
    for place, axes in enumerate(panels):
        axes.set_visible(place < len(lines))
        axes.set_ylim(-0.06 * max(tops), 1.4 * max(tops))
        axes.tick_params(labelleft=place % columns == 0)
    figure.supxlabel("peak rate", fontsize=9)
    figure.supylabel("loss above the best rate (%)", fontsize=9)
    return figure


def _panel(axes: Axes, compute: float, by_size: dict[float, dict[float, float]]) -> float:
    sizes = sorted(by_size)
    top = 0.1
    for rank, params in enumerate(sizes):
        line = by_size[params]
        colour = to_hex(style.SEQUENCE(rank / max(1, len(sizes) - 1)))
        best = min(line, key=lambda rate: line[rate])
        excess = [100 * (loss / line[best] - 1) for loss in line.values()]
        ends = rank in (0, len(sizes) - 1)
        label = f"$N$ = {formatting.short(params)}" if ends else None
        axes.plot(
            list(line),
            excess,
            "-",
            marker="o",
            color=colour,
            markersize=2,
            linewidth=0.9,
            label=label,
        )
        axes.plot(best, 0, "o", color=colour, markersize=4.2, zorder=4)
        top = max(top, *excess)
    rates = [rate for line in by_size.values() for rate in line]
    style.log_axis(axes.xaxis, *style.spread(rates, 0.08), most=3)
    axes.set_title(f"{style.math_power(compute)} FLOPs", color=style.INK)
    axes.legend(loc="upper left", handlelength=1.2, labelspacing=0.25, borderaxespad=0.1)
    return top
