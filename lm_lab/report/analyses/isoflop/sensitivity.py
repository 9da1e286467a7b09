"""Forest plot of sensitivity: how far the answer moves with arbitrary choices of the analysis."""

import re
from collections.abc import Callable, Sequence

from matplotlib import figure as drawings
from matplotlib.axes import Axes

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.scaling.records import IsoflopAnalysis, Variant

COLUMNS: tuple[tuple[str, Callable[[Variant], float | None]], ...] = (
    ("exponent $a$ of $N$*", lambda variant: variant.exponent_params),
    ("$N$*", lambda variant: variant.params),
    ("$D$*/$N$*", lambda variant: variant.tokens_per_param),
)


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure | None:
    """The figure with its caption; None without two variants that gave an answer."""
    variants = [variant for variant in analysis.variants if variant.exponent_params is not None]
    if len(variants) < 2:
        return None
    refused = len(analysis.variants) - len(variants)
    caption = (
        "The exponent of N*, and N* and D*/N* at "
        f"{formatting.power(variants[0].flops)} FLOPs, the largest budget fitted, under arbitrary "
        "choices of the analysis: blue by approach 2, orange by approach 3 and its kin. Bars: the "
        f"{formatting.percent(analysis.level)} intervals of a by either approach as fitted, which "
        "the spread of the others should be read against."
    )
    caption += f" {formatting.many(refused, 'variant')} refused, not shown." if refused else ""
    return Figure(
        "sensitivity",
        "Sensitivity to choices of the analysis",
        caption,
        "The exponent and the optimum under each variant of the analysis, a row a variant.",
        lambda: draw(analysis, variants),
    )


def draw(analysis: IsoflopAnalysis, variants: Sequence[Variant]) -> drawings.Figure:
    """A row a variant, a panel a quantity."""
    drawing, panels = style.panels(style.PAGE_INCHES, 0.9 + 0.19 * len(variants), columns=3)
    for axes, (label, quantity) in zip(panels, COLUMNS):
        _panel(axes, variants, quantity)
        if axes is not panels[0]:
            values = [value for item in variants if (value := quantity(item)) is not None]
            style.log_axis(axes.xaxis, *style.spread(values, 0.12), most=4)
        axes.set_xlabel(label)
        axes.set_ylim(len(variants) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0, labelleft=False)
    panels[0].set_yticks(range(len(variants)))
    panels[0].set_yticklabels([_label(variant) for variant in variants], fontsize=7.5)
    panels[0].tick_params(axis="y", labelleft=True)
    for place, variant in enumerate(variants):
        frontier = next(
            (candidate for candidate in analysis.frontiers if candidate.method == variant.name),
            None,
        )
        if frontier is not None:
            style.bar(panels[0], frontier.exponent_params, place, _colour(variant), along="x")
    return drawing


def _panel(
    axes: Axes, variants: Sequence[Variant], quantity: Callable[[Variant], float | None]
) -> None:
    values = [quantity(variant) for variant in variants]
    for place, (variant, value) in enumerate(zip(variants, values)):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color=style.FAINT, alpha=0.18, linewidth=0)
        if value is not None:
            marks.points(
                axes,
                [value],
                [place],
                variant.name,
                words=[f"{formatting.readable(variant.name)}: {formatting.plain(value, 3)}"],
                color=_colour(variant),
                markersize=4,
                zorder=3,
            )


def _label(variant: Variant) -> str:
    """The name of a variant with powers as formulas: the figures' typeface has few superscripts."""
    name = style.literal(variant.name)
    return re.sub(r"\d(?:\.\d+)?e\+\d+", lambda match: style.math_power(float(match[0])), name)


def _colour(variant: Variant) -> str:
    return style.APPROACH_2 if variant.name.startswith("approach 2") else style.APPROACH_3
