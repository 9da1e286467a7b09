"""Loss against compute: the best of each budget, the law, and the held-out budget."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm_lab.report import formatting, style
from lm_lab.scaling.records import IsoflopAnalysis, Point


def draw(analysis: IsoflopAnalysis, unit: str = "token") -> Figure:
    """Draws the lowest losses, the law with its band, and the held-out loss with its prediction."""
    figure, (axes,) = style.panels(5.2, 3.5)
    points = analysis.points
    flops = [point.flops for point in points]
    dots: dict[str, Any] = {"linestyle": "none", "marker": "o"}
    losses = [point.loss for point in points]
    axes.plot(
        flops,
        losses,
        **dots,
        color=style.FAINT,
        markersize=3,
        markeredgewidth=0,
        zorder=1,
        label="best of each size",
    )
    best = lowest(points)
    seen = [point for point in best if not point.held_out]
    x, y = [point.flops for point in seen], [point.loss for point in seen]
    axes.plot(x, y, **dots, color=style.INK, markersize=4.6, zorder=5, label="best of each budget")
    _curve(axes, analysis)
    reach = losses + _held_out(axes, analysis, next((p for p in best if p.held_out), None))
    style.flops_axis(axes.xaxis, flops, [point.budget for point in points], 0.12)
    style.log_axis(axes.yaxis, *style.spread(reach, 0.08), most=9)
    axes.set_xlabel("compute $C$ (FLOPs)")
    axes.set_ylabel(f"held-out loss (nats per {unit})")
    axes.legend(loc="upper right", borderaxespad=0.2)
    return figure


def lowest(points: Sequence[Point]) -> list[Point]:
    """The point of lowest loss at each budget, in order of the budgets."""
    budgets = sorted({point.budget for point in points})
    return [
        min((p for p in points if p.budget == budget), key=lambda p: p.loss) for budget in budgets
    ]


def _curve(axes: Axes, analysis: IsoflopAnalysis) -> None:
    """Draws the predictor's curve of the lowest loss."""
    by_surface = analysis.held_out is None or analysis.held_out.predictor == "surface"
    frontier = analysis.frontier("approach 3" if by_surface else "approach 2")
    if frontier is None or frontier.loss is None:
        return
    colour = style.APPROACH_3 if by_surface else style.APPROACH_2
    style.ribbon(axes, frontier.loss, colour)
    source = "surface of approach 3" if by_surface else "law through the valleys"
    axes.plot(
        frontier.loss.flops,
        frontier.loss.value,
        color=colour,
        zorder=3,
        label=f"lowest loss by the {source}",
    )


def _held_out(axes: Axes, analysis: IsoflopAnalysis, observed: Point | None) -> list[float]:
    """Draws the held-out budget and its prediction; returns the losses that the axes must hold."""
    if observed is None:
        return []
    dots: dict[str, Any] = {"linestyle": "none", "color": style.HELD_OUT}
    predicted = analysis.held_out.predicted if analysis.held_out is not None else None
    if predicted is not None:
        style.bar(axes, predicted, observed.flops, style.HELD_OUT, along="y", cap=4)
        axes.plot(
            observed.flops,
            predicted.value,
            **dots,
            marker="_",
            markersize=9,
            markeredgewidth=1.4,
            zorder=5,
        )
        words = f"predicted, {formatting.percent(analysis.level)} interval"
        axes.plot([], [], **dots, marker="|", markersize=9, markeredgewidth=1.2, label=words)
    axes.plot(
        observed.flops,
        observed.loss,
        **dots,
        marker="*",
        markersize=8,
        markeredgewidth=0,
        zorder=6,
        label="held out",
    )
    return (
        []
        if predicted is None
        else [bound for bound in (predicted.low, predicted.high) if bound is not None]
    )
