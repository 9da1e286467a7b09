"""The collapse of a ladder's training curves (scaling/collapse.py), as a figure and a table."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from lm_lab.report import formatting, marks, style
from lm_lab.report.page import Block, Cell, Figure, Number, Table
from lm_lab.report.stored import Row, Sweep, budget
from lm_lab.scaling.collapse import Collapse, Curve, collapse
from lm_lab.scaling.records import Refusal

Rungs = Mapping[float, Sequence[str]]
"""The names of a ladder's runs, by budget in FLOPs; those of a rung differ in their seed alone."""


def blocks(ladders: Mapping[str, Rungs], sweep: Sweep) -> list[Block]:
    """A figure and a table of the ladders, with the reason for those whose curves cannot be
    compared; nothing if no ladder has two rungs, or no run logged a curve.
    """
    curves = {name: _curves(rungs, sweep) for name, rungs in ladders.items()}
    if all(len(rungs) < 2 for rungs in ladders.values()) or not any(curves.values()):
        return []
    results = {name: collapse(of_ladder) for name, of_ladder in curves.items()}
    collapses = {name: result for name, result in results.items() if isinstance(result, Collapse)}
    missing = {
        name: f"{len(curves[name])} of {formatting.many(count, 'run')} have a curve"
        for name, rungs in ladders.items()
        if (count := sum(map(len, rungs.values()))) > len(curves[name])
    }
    table = _table(results, missing)
    return [_figure(collapses, ladders), table] if collapses else [table]


def best_runs(rows: Sequence[Row]) -> Rungs:
    """The runs with the lowest loss at every budget, all seeds of these settings; chosen on the
    selection text, if the sweep has it.
    """
    settings: dict[float, dict[tuple, list[Row]]] = {}
    for row in rows:
        swept = tuple(value for key, value in row.items() if "." in key)
        settings.setdefault(budget(row), {}).setdefault((row["params"], swept), []).append(row)

    def height(runs: Sequence[Row]) -> float:
        columns = ("selection_loss", "loss")
        values = [next(run[name] for name in columns if run.get(name) is not None) for run in runs]
        return float(np.mean(values))

    best = {
        compute: min(runs_by_setting.values(), key=height)
        for compute, runs_by_setting in settings.items()
    }
    return {compute: [str(row["name"]) for row in runs] for compute, runs in best.items()}


def _curves(rungs: Rungs, sweep: Sweep) -> list[Curve]:
    curves = []
    for compute in sorted(rungs):
        for name in rungs[compute]:
            lines = [line for line in sweep.curves.get(name, ()) if line.get("train/nll")]
            if lines:
                flops, loss = zip(*((line["flops"], line["train/nll"]) for line in lines))
                curves.append(Curve(f"{compute:g}", np.array(flops), np.array(loss)))
    return curves


def _figure(collapses: Mapping[str, Collapse], ladders: Mapping[str, Rungs]) -> Figure:
    return Figure(
        "collapse",
        "Normalised training curves",
        "(L(x) − E) / (L(1) − E) against the share x of the run, of the best runs of each budget, "
        "means over seeds. Curves of a ladder that is scaled well fall on one another below the "
        "noise of seeds (grey; 2507.02119). E is the loss that brings the curves nearest together. "
        "Apart: their relative standard deviation, root mean square over the run.",
        "Normalised training loss against progress, a line a budget.",
        lambda: draw(collapses, ladders),
    )


def draw(found: Mapping[str, Collapse], ladders: Mapping[str, Rungs]) -> Drawing:
    """A panel a ladder, three in a row; the start of a line can be pointed at."""
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    figure, panels = style.panels(
        style.PAGE_INCHES if columns > 1 else 4.2, 0.4 + 2.1 * rows, columns, rows
    )
    heights = [height for result in found.values() for curve in result.curves for height in curve]
    low, top = min(heights), max(heights)
    for axes, (name, result) in zip(panels, found.items()):
        _panel(axes, result, ladders[name])
        seeds = "" if result.floor is None else f" (seeds {formatting.percent(result.floor)})"
        title = f"{name}: {formatting.percent(result.residual)} apart{seeds}"
        axes.set_title(style.literal(title), fontsize=8)
        axes.set_ylim(low - 0.04 * (top - low), top + 0.04 * (top - low))
        first = axes in panels[::columns]
        axes.set_ylabel("normalised loss" if first else "")
        axes.tick_params(labelleft=first)
        axes.set_xlabel("share of the run")
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    return figure


def _panel(axes: Axes, result: Collapse, rungs: Rungs) -> None:
    budgets = [float(rung) for rung in result.rungs]
    colours = style.budget_colours(budgets)
    for compute, curve in zip(budgets, result.curves):
        label = f"{style.math_power(compute)} FLOPs"
        look = {"color": colours[compute], "linewidth": 1.1, "label": label}
        marks.curve(axes, result.x, curve, f"{compute:g} FLOPs", **look)
        run_names = next(
            (runs for rung, runs in rungs.items() if f"{rung:g}" == f"{compute:g}"), ()
        )
        first = next(place for place, height in enumerate(curve) if np.isfinite(height))
        marks.points(
            axes,
            [result.x[first]],
            [curve[first]],
            f"{compute:g} FLOPs, start",
            words=[f"{formatting.power(compute)} FLOPs, {formatting.many(len(run_names), 'run')}"],
            runs=[run_names],
            color=colours[compute],
            markersize=3,
        )
    mean = np.mean(result.curves, axis=0)
    if result.noise is not None:
        half = mean * np.array(result.noise)
        axes.fill_between(
            result.x, mean - half, mean + half, color=style.FAINT, alpha=0.6, linewidth=0, zorder=1
        )
    axes.set_xlim(0, 1)
    axes.legend(loc="upper right", borderaxespad=0.2, fontsize=7)


def _table(results: Mapping[str, Collapse | Refusal], missing: Mapping[str, str]) -> Table:
    rows = [[name, *_cells(result, missing.get(name))] for name, result in results.items()]
    caption = (
        "How far the normalised training curves of a ladder's runs lie apart (root mean square "
        "over the run of their standard deviation, as a share of their mean), beside how far apart "
        "seeds put the curves of one model."
    )
    return Table(["ladder", "collapse residual", "seed noise", "", "E (nats)"], rows, caption)


def _cells(result: Collapse | Refusal, missing: str | None) -> list[Cell]:
    if isinstance(result, Refusal):
        return [None, None, "; ".join(filter(None, (result.message, missing))), None]
    verdict = {True: "below", False: "above", None: "one seed"}[result.collapsed]
    return [
        Number(formatting.percent(result.residual), result.residual),
        None if result.floor is None else Number(formatting.percent(result.floor), result.floor),
        "; ".join(filter(None, (verdict, missing))),
        Number(formatting.plain(result.irreducible, 3), result.irreducible),
    ]
