"""Reducible loss, L - E against C: straight on log axes if E is right."""

from matplotlib import figure as drawings

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.isoflop.frontier import lowest
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.scaling.records import IsoflopAnalysis, Surface


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure | None:
    """The figure with its caption; None without a surface whose E is below every loss."""
    surface = analysis.surface
    if surface is None or not 0 < surface.E.value < min(p.loss for p in analysis.points):
        return None
    caption = (
        "Loss above the irreducible loss E of approach 3 against compute, on log axes. Black: the "
        "best of each budget; star: the held-out budget; line: the lowest loss by the surface. "
        f"E = {formatting.estimate(surface.E)} nats per {source.unit}; pale lines: the same points "
        "with E at either end of its interval, which bends them."
    )
    return Figure(
        "reducible",
        "Reducible loss",
        caption,
        "Loss minus the irreducible loss against compute on log axes.",
        lambda: draw(analysis, surface, source),
    )


def draw(analysis: IsoflopAnalysis, surface: Surface, source: Source) -> drawings.Figure:
    """Draws the best of each budget, less E, and the surface's law."""
    drawing, (axes,) = style.panels(5.2, 3.3)
    best = lowest(analysis.points)
    reach = []
    for place, E in enumerate((surface.E.low, surface.E.high)):
        above = [] if E is None else [(p.flops, p.loss - E) for p in best if p.loss > E]
        if above:
            x, y = zip(*above)
            label = None if place else "with $E$ at either end"
            look = {"color": style.FAINT, "marker": "o", "markersize": 2.5, "linewidth": 0.9}
            name = "E at its upper end" if place else "E at its lower end"
            marks.curve(axes, x, y, name, label=label, zorder=1, **look)
            reach += y
    for held_out in (False, True):
        points = [point for point in best if point.held_out == held_out]
        heights = [point.loss - surface.E.value for point in points]
        marks.points(
            axes,
            [point.flops for point in points],
            heights,
            "held out" if held_out else "best of each budget",
            words=[f"{source.words(p)}; {y:.4g} above E" for p, y in zip(points, heights)],
            runs=[source.runs(point) for point in points],
            marker="*" if held_out else "o",
            markersize=8 if held_out else 4.6,
            color=style.HELD_OUT if held_out else style.INK,
            label=("held out" if held_out else "best of each budget") if points else None,
            zorder=5,
        )
        reach += heights
    frontier = analysis.frontier("approach 3")
    if frontier is not None and frontier.loss is not None:
        y = [value - surface.E.value for value in frontier.loss.value]
        look = {"color": style.APPROACH_3, "zorder": 3, "label": "surface of approach 3"}
        marks.curve(axes, frontier.loss.flops, y, "surface of approach 3", **look)
    flops = [point.flops for point in analysis.points]
    style.flops_axis(axes.xaxis, flops, [point.budget for point in analysis.points], 0.12)
    style.log_axis(axes.yaxis, *style.spread(reach, 0.1), most=8)
    axes.set_xlabel("compute $C$ (FLOPs)")
    axes.set_ylabel(f"loss above $E$ (nats per {source.unit})")
    axes.legend(loc="best", borderaxespad=0.2)
    return drawing
