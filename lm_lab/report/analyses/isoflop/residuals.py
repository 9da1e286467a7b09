"""Residuals of approach 3 against size, data and prediction; a trend means a wrong form."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm_lab.report import style
from lm_lab.scaling.records import IsoflopAnalysis, Point


def draw(analysis: IsoflopAnalysis, unit: str = "token") -> Figure:
    """Three panels of log(loss / predicted) in percent; the grey band is one residual s.d."""
    figure, panels = style.panels(style.PAGE_INCHES, 2.7, columns=3)
    points = [point for point in analysis.points if point.residual is not None]
    colours = style.budget_colours([point.budget for point in points if not point.held_out])
    reach = max(abs(100 * (point.residual or 0)) for point in points) * 1.15 + 0.05
    for axes, label in zip(
        panels, ("parameters $N$", "tokens $D$", f"predicted loss (nats per {unit})")
    ):
        _frame(axes, analysis)
        for point in points:
            _dot(
                axes,
                point,
                _x(point, label),
                style.HELD_OUT if point.held_out else colours[point.budget],
            )
        values = [_x(point, label) for point in points]
        style.log_axis(axes.xaxis, *style.spread(values, 0.08), most=5)
        axes.set_ylim(-reach, reach)
        axes.set_xlabel(label)
        axes.tick_params(labelleft=axes is panels[0])
    panels[0].set_ylabel("residual, log(loss / predicted) (%)")
    _key(panels[-1], colours, any(point.held_out for point in points))
    return figure


def _x(point: Point, label: str) -> float:
    value = point.params if "$N$" in label else point.tokens if "$D$" in label else point.predicted
    return float(value or 0.0)


def _frame(axes: Axes, analysis: IsoflopAnalysis) -> None:
    axes.axhline(0, color=style.MUTED, linewidth=0.7, zorder=1)
    noise = analysis.surface.noise if analysis.surface is not None else None
    if noise is not None:
        axes.axhspan(
            -100 * noise, 100 * noise, color=style.FAINT, alpha=0.35, linewidth=0, zorder=0
        )


def _dot(axes: Axes, point: Point, x: float, colour: str) -> None:
    face = "white" if point.held_out else colour
    axes.plot(
        x,
        100 * (point.residual or 0.0),
        "o",
        color=colour,
        markerfacecolor=face,
        markersize=4,
        zorder=3,
    )


def _key(axes: Axes, colours: dict[float, str], held_out: bool) -> None:
    for budget, colour in colours.items():
        axes.plot(
            [], [], "o", color=colour, markersize=4, label=f"{style.math_power(budget)} FLOPs"
        )
    if held_out:
        axes.plot(
            [],
            [],
            "o",
            color=style.HELD_OUT,
            markerfacecolor="white",
            markersize=4,
            label="held out",
        )
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0, handletextpad=0.2)
