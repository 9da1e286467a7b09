"""Loss against compute: the best of each budget, the law, and the held-out budget."""

from collections.abc import Sequence
from typing import Any

from matplotlib import figure as drawings
from matplotlib.axes import Axes

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.scaling.records import IsoflopAnalysis, Point


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure:
    """The figure with its caption."""
    caption = (
        "Held-out loss against compute. Grey: the best of each size; black: the best of each "
        "budget below the one held out, if any."
    )
    if analysis.frontiers:
        caption += " Line: the lowest loss by the fitted law, with its band."
    if analysis.held_out is not None:
        caption += (
            " Star: the best loss at the held-out budget; bar: what was predicted for it from the "
            "smaller ones."
        )
    return Figure(
        "frontier",
        "Loss against compute",
        caption,
        "Loss against compute with the fitted curve and the held-out point.",
        lambda: draw(analysis, source),
    )


def draw(analysis: IsoflopAnalysis, source: Source) -> drawings.Figure:
    """Draws the lowest losses, the law with its band, and the held-out loss with its prediction."""
    drawing, (axes,) = style.panels(5.2, 3.5)
    points, best = analysis.points, lowest(analysis.points)
    grey = {"markersize": 3, "markeredgewidth": 0, "color": style.FAINT, "zorder": 1}
    _dots(axes, points, source, "best of each size", grey)
    black = {"markersize": 4.6, "color": style.INK, "zorder": 5}
    fitted = [point for point in best if not point.held_out]
    _dots(axes, fitted, source, "best of each budget", black)
    _curve(axes, analysis)
    held_out = next((point for point in best if point.held_out), None)
    reach = [point.loss for point in points] + _held_out(axes, analysis, source, held_out)
    flops = [point.flops for point in points]
    style.flops_axis(axes.xaxis, flops, [point.budget for point in points], 0.12)
    style.log_axis(axes.yaxis, *style.spread(reach, 0.08), most=9)
    axes.set_xlabel("compute $C$ (FLOPs)")
    axes.set_ylabel(source.loss)
    axes.legend(loc="upper right", borderaxespad=0.2)
    return drawing


def lowest(points: Sequence[Point]) -> list[Point]:
    """The point of lowest loss at each budget, in order of the budgets."""
    budgets = sorted({point.budget for point in points})
    return [
        min((p for p in points if p.budget == budget), key=lambda p: p.loss) for budget in budgets
    ]


def _dots(
    axes: Axes, points: Sequence[Point], source: Source, series: str, look: dict[str, Any]
) -> None:
    marks.points(
        axes,
        [point.flops for point in points],
        [point.loss for point in points],
        series,
        words=[source.words(point) for point in points],
        runs=[source.runs(point) for point in points],
        label=series,
        **look,
    )


def _curve(axes: Axes, analysis: IsoflopAnalysis) -> None:
    """Draws the predictor's curve of the lowest loss."""
    by_surface = analysis.held_out is None or analysis.held_out.predictor == "surface"
    frontier = analysis.frontier("approach 3" if by_surface else "approach 2")
    if frontier is None or frontier.loss is None:
        return
    colour = style.APPROACH_3 if by_surface else style.APPROACH_2
    source = "surface of approach 3" if by_surface else "law through the valleys"
    label = f"lowest loss by the {source}"
    marks.band(axes, frontier.loss, label, colour, label=label, zorder=3)


def _held_out(
    axes: Axes, analysis: IsoflopAnalysis, source: Source, observed: Point | None
) -> list[float]:
    """Draws the held-out budget and its prediction; returns the losses that the axes must hold."""
    if observed is None:
        return []
    predicted = analysis.held_out.predicted if analysis.held_out is not None else None
    if predicted is not None:
        label = f"predicted, {formatting.percent(analysis.level)} interval"
        look = {"color": style.HELD_OUT, "markersize": 9, "markeredgewidth": 1.4}
        note = f"predicted {formatting.estimate(predicted)}"
        marks.estimates(
            axes, [observed.flops], [predicted], label, words=[note], cap=4, marker="_", **look
        )
        axes.plot([], [], linestyle="none", marker="|", **look, label=label)
    star = {"marker": "*", "markersize": 8, "markeredgewidth": 0, "color": style.HELD_OUT}
    _dots(axes, [observed], source, "held out", star | {"zorder": 6})
    bounds = [] if predicted is None else [predicted.low, predicted.high]
    return [bound for bound in bounds if bound is not None]
