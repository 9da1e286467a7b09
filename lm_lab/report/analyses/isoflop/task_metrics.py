"""Loss beside the metrics of tasks: whether a lower loss means better task metrics."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from matplotlib import figure as drawings

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.report.stored import Row, budget
from lm_lab.scaling.records import IsoflopAnalysis

MOST = 4  # metrics drawn
_LOSSES = ("nll", "bits_per_byte", "perplexity")


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure | None:
    """The figure with its caption; None where no run has a metric of a task."""
    metrics = names(source.finals)
    if not metrics:
        return None
    held_out = {point.budget for point in analysis.points if point.held_out}
    rows = [row for row in source.rows if source.finals.get(str(row.get("name")))]
    more = len(metrics) - MOST
    caption = (
        "What each run scored at its end, against compute (left) and against its held-out loss "
        f"(right), a colour a budget: {len(rows):,} runs, none averaged. C: counted FLOPs."
    )
    caption += f" {formatting.many(more, 'metric')} more are not drawn." if more > 0 else ""
    return Figure(
        "task_metrics",
        "Loss and the metrics of tasks",
        caption,
        "Task metrics against compute and against loss.",
        lambda: draw(rows, source, metrics[:MOST], held_out),
    )


def names(finals: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The names of metrics of held-out data that any run has, without losses."""
    every = {name for final in finals.values() for name, value in final.items() if _is(value)}
    return sorted(
        name for name in every if name.startswith("eval/") and name.split("/")[-1] not in _LOSSES
    )


def _is(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def draw(
    rows: Sequence[Row], source: Source, metrics: Sequence[str], held_out: set[float]
) -> drawings.Figure:
    """Two panels for each metric: against compute, and against loss."""
    drawing, panels = style.panels(style.PAGE_INCHES, 2.6 * len(metrics), 2, len(metrics))
    budgets = sorted({budget(row) for row in rows})
    colours = style.budget_colours([compute for compute in budgets if compute not in held_out])
    for place, metric in enumerate(metrics):
        left, right = panels[2 * place : 2 * place + 2]
        for compute in budgets:
            same = [
                (row, value)
                for row in rows
                if budget(row) == compute
                and _is(value := source.finals[str(row["name"])].get(metric))
            ]
            label = f"{style.math_power(compute)} FLOPs" if len(budgets) <= 8 else None
            for axes, key in ((left, "flops"), (right, "loss")):
                marks.points(
                    axes,
                    [float(row[key]) for row, _ in same],
                    [value for _, value in same],
                    f"{formatting.power(compute)} FLOPs",
                    words=[f"{metric} {formatting.plain(value)}" for _, value in same],
                    runs=[[str(row["name"])] for row, _ in same],
                    color=colours.get(compute, style.HELD_OUT),
                    markersize=3.2,
                    markeredgewidth=0,
                    label=label if axes is left else None,
                )
        style.flops_axis(left.xaxis, [float(row["flops"]) for row in rows], budgets, 0.08)
        style.log_axis(right.xaxis, *style.spread([float(row["loss"]) for row in rows]), most=6)
        left.set_ylabel(style.literal(metric.removeprefix("eval/")))
        right.set_ylabel(style.literal(metric.removeprefix("eval/")))
        left.set_xlabel("compute $C$ (FLOPs)")
        right.set_xlabel(source.loss)
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(loc="best", borderaxespad=0.2, handletextpad=0.2)
    return drawing
