"""The figures: what is lost, and the losses over rates that it is read from."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm_lab.report import marks, style
from lm_lab.report.analyses.transfer.results import Curve, Results, Transfer
from lm_lab.scaling.records import Estimate

HIGHEST = 1.6  # times the lowest loss of a panel


def lost(results: Results) -> Figure:
    """A panel a size: what is lost, in per cent, a row a model and a mark a parametrisation."""
    sizes = _sizes(results)
    models = list(dict.fromkeys(transfer.model for transfer in results.transfers))
    height = 0.9 + 0.45 * len(models)
    figure, panels = style.panels(style.PAGE_INCHES, height, len(sizes))
    for axes, (size, transfers) in zip(panels, sizes.items()):
        names = list(dict.fromkeys(transfer.parametrisation for transfer in transfers))
        for index, (name, look) in enumerate(style.of_series(names).items()):
            shown = [each for each in transfers if each.parametrisation == name and not each.beyond]
            offset = 0.16 * (index - (len(names) - 1) / 2)
            axes.plot([], [], look["marker"], color=look["color"], markersize=4, label=name)
            marks.estimates(
                axes,
                [models.index(each.model) + offset for each in shown],
                [_in_percent(each.lost) for each in shown],
                f"{size}, {name}",
                along="x",
                words=[f"{each.model}, {size}, {name}" for each in shown],
                cap=2,
                color=look["color"],
                marker=look["marker"],
                markersize=4,
            )
        axes.axvline(0, color=style.MUTED, linewidth=0.7)
        axes.set_ylim(len(models) + 0.2, -0.5)  # room for the legend below the last row
        axes.set_yticks(range(len(models)), models if axes is panels[0] else [])
        axes.set_title(style.literal(size))
        axes.set_xlabel(f"{style.literal(results.settings.metric)} lost, %")
        axes.legend(frameon=False, fontsize="small", loc="lower right", ncols=len(names))
    return figure


def curves(results: Results) -> Figure:
    """A row of panels a size, a panel a model: loss against peak rate."""
    sizes = _sizes(results)
    models = list(dict.fromkeys(transfer.model for transfer in results.transfers))
    columns, rows = len(models), len(sizes)
    figure, panels = style.panels(style.PAGE_INCHES, 2.3 * rows + 0.3, columns, rows)
    for row, transfers in enumerate(sizes.values()):
        for column, model in enumerate(models):
            of_model = [transfer for transfer in transfers if transfer.model == model]
            axes = panels[row * columns + column]
            if of_model:
                _panel(axes, of_model, results.settings.metric)
            if column == 0:
                axes.set_ylabel(f"held-out {style.spelled(results.settings.metric)}")
            if row == rows - 1:
                axes.set_xlabel("peak rate")
    return figure


def _panel(axes: Axes, transfers: list[Transfer], metric: str) -> None:
    small, size = transfers[0].small, transfers[0].size
    _line(axes, small, "small", style.MUTED, metric, linestyle="--", marker=None)
    axes.axvline(small.best_rate.value, color=style.MUTED, linewidth=0.7)
    looks = style.of_series([transfer.parametrisation for transfer in transfers])
    for transfer in transfers:
        look = looks[transfer.parametrisation]
        name, colour = transfer.parametrisation, look["color"]
        _line(axes, transfer.large, name, colour, metric, marker=look["marker"])
    lowest = min(min(each.losses) for each in (small, *(t.large for t in transfers)))
    axes.set_ylim(lowest * 0.96, lowest * HIGHEST)
    style.log_axis(axes.xaxis, *style.spread(small.rates, 0.08), most=3)
    axes.set_title(style.literal(f"{transfers[0].model}, {size}"), fontsize="small")
    axes.legend(frameon=False, fontsize="x-small", loc="upper center")


def _line(axes: Axes, curve: Curve, name: str, colour: str, metric: str, **look: Any) -> None:
    finite = [place for place, loss in enumerate(curve.losses) if math.isfinite(loss)]
    rates, losses = ([values[i] for i in finite] for values in (curve.rates, curve.losses))
    axes.plot(rates, losses, color=colour, lw=1.0, markersize=3, label=name, **look)
    words = [f"{name}, rate {rate:.3g}: {metric} {loss:.4g}" for rate, loss in zip(rates, losses)]
    runs = [curve.runs[place] for place in finite]
    marks.points(axes, rates, losses, name, words=words, runs=runs, color=colour, markersize=2)


def _in_percent(value: Estimate) -> Estimate:
    low, high = (None if end is None else 100 * end for end in (value.low, value.high))
    return Estimate(100 * value.value, low, high)


def _sizes(results: Results) -> dict[str, list[Transfer]]:
    sizes: dict[str, list[Transfer]] = {}
    for transfer in results.transfers:
        sizes.setdefault(transfer.size, []).append(transfer)
    return sizes
