"""Predicted against observed loss by the surface of approach 3, the held-out budget starred."""

import math

from matplotlib import figure as drawings

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.scaling.records import IsoflopAnalysis, Point


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure | None:
    """The figure with its caption; None without a surface."""
    points = [point for point in analysis.points if point.predicted is not None]
    if not points:
        return None
    caption = (
        "Loss by the surface of approach 3 against the loss observed; on the line they are equal. "
        f"Relative errors (root mean square): {_errors(points)}."
    )
    if any(point.held_out for point in points):
        caption += " Stars: the held-out budget, which the fit did not see."
    return Figure(
        "predicted_observed",
        "Predicted and observed loss",
        caption,
        "Predicted loss against observed loss, with the line of equality.",
        lambda: draw(points, source),
    )


def _errors(points: list[Point]) -> str:
    parts = []
    for held_out, kind in ((False, "fitted"), (True, "held out")):
        logs = [p.residual for p in points if p.held_out == held_out and p.residual is not None]
        if logs:
            error = math.sqrt(sum(log**2 for log in logs) / len(logs))
            parts.append(f"{formatting.percent(error)} of the points {kind}")
    return formatting.listed(parts)


def draw(points: list[Point], source: Source) -> drawings.Figure:
    """Draws one square panel, with the line of equality."""
    drawing, (axes,) = style.panels(4.6, 4.0)
    colours = style.budget_colours([point.budget for point in points if not point.held_out])
    for budget in sorted({point.budget for point in points}):
        same = [point for point in points if point.budget == budget]
        held_out = same[0].held_out
        series = "held out" if held_out else f"{formatting.power(budget)} FLOPs"
        few = len(colours) <= 8 or held_out
        shown = "held out" if held_out else f"{style.math_power(budget)} FLOPs"
        marks.points(
            axes,
            [point.loss for point in same],
            [point.predicted or math.nan for point in same],
            series,
            words=[f"{source.words(p)}; predicted {p.predicted:.4g}" for p in same],
            runs=[source.runs(point) for point in same],
            marker="*" if held_out else "o",
            markersize=8 if held_out else 4,
            markeredgewidth=0,
            color=style.HELD_OUT if held_out else colours[budget],
            label=shown if few else None,
            zorder=4 if held_out else 3,
        )
    limits = style.spread([*(p.loss for p in points), *(p.predicted or p.loss for p in points)])
    axes.plot(limits, limits, color=style.MUTED, linewidth=0.8, zorder=1)
    style.log_axis(axes.xaxis, *limits, most=6)
    style.log_axis(axes.yaxis, *limits, most=6)
    axes.set_aspect("equal")
    axes.set_xlabel(f"observed loss (nats per {source.unit})")
    axes.set_ylabel(f"predicted loss (nats per {source.unit})")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", borderaxespad=0.2, handletextpad=0.2)
    return drawing
