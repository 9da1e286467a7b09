"""The figure: the metric against the setting, a line an arm."""

from matplotlib.figure import Figure

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.curves.results import Results


def curves(results: Results) -> Figure:
    """One panel; bars are intervals, dashed lines the known values."""
    settings = results.settings
    figure, (axes,) = style.panels(style.PAGE_INCHES, 3.6, 1)
    known = {str(name): float(value) for name, value in (settings.known or {}).items()}
    heights = list(known.values())
    for place, (arm, look) in enumerate(style.of_series(list(settings.arms)).items()):
        # bars of arms stand side by side
        aside = 1.015 ** (place - (len(settings.arms) - 1) / 2)
        own = [point for point in results.points if point.arm == arm]
        if not own:
            continue
        axes.plot(
            [p.at * aside for p in own], [p.value.value for p in own], color=look["color"], lw=1.1
        )
        axes.plot([], [], look["marker"] + "-", color=look["color"], markersize=4, label=arm)
        marks.estimates(
            axes,
            [point.at * aside for point in own],
            [point.value for point in own],
            arm,
            words=[
                f"{arm}, {settings.against} {formatting.grouped(point.at)}: {settings.metric} "
                f"{formatting.estimate(point.value)}"
                for point in own
            ],
            runs=[point.runs for point in own],
            cap=2,
            color=look["color"],
            marker=look["marker"],
            markersize=4,
        )
        for point in own:
            heights += [
                end
                for end in (point.value.low, point.value.value, point.value.high)
                if end is not None
            ]
    for name, value in known.items():
        axes.axhline(value, color=style.MUTED, linewidth=0.7, linestyle="--")
        axes.annotate(
            style.literal(name),
            (0.005, value),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            color=style.MUTED,
            fontsize="small",
        )
    style.log_axis(axes.xaxis, *style.spread(results.values, 0.08), most=8)
    margin = 0.06 * (max(heights) - min(heights) or 1.0)
    axes.set_ylim(min(heights) - margin, max(heights) + margin)
    axes.set_xlabel(style.literal(settings.against))
    axes.set_ylabel(f"held-out {style.literal(settings.metric)}")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure
