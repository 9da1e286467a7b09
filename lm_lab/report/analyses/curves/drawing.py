"""The figure: the metric against the setting, a line an arm."""

from matplotlib.figure import Figure

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.curves.results import Results


def curves(results: Results) -> Figure:
    """One panel; bars are intervals, dashed lines the known values."""
    settings = results.settings
    figure, (axes,) = style.panels(style.PAGE_INCHES, 3.6, 1)
    known_values = {str(name): float(value) for name, value in (settings.known or {}).items()}
    heights = list(known_values.values())
    low, high = style.spread(results.values, 0.08)
    step = (high / low) ** (0.12 / max(len(settings.arms), 15))  # arms stand side by side
    for index, (arm, look) in enumerate(style.of_series(list(settings.arms)).items()):
        offset = step ** (index - (len(settings.arms) - 1) / 2)
        points_of_arm = [point for point in results.points if point.arm == arm]
        if not points_of_arm:
            continue
        axes.plot(
            [p.at * offset for p in points_of_arm],
            [p.value.value for p in points_of_arm],
            color=look["color"],
            lw=1.1,
        )
        axes.plot([], [], look["marker"] + "-", color=look["color"], markersize=4, label=arm)
        marks.estimates(
            axes,
            [point.at * offset for point in points_of_arm],
            [point.value for point in points_of_arm],
            arm,
            words=[
                f"{arm}, {settings.against} {formatting.varied(point.at)}: {settings.metric} "
                f"{formatting.estimate(point.value)}"
                for point in points_of_arm
            ],
            runs=[point.runs for point in points_of_arm],
            cap=2,
            color=look["color"],
            marker=look["marker"],
            markersize=4,
        )
        for point in points_of_arm:
            heights += [
                end
                for end in (point.value.low, point.value.value, point.value.high)
                if end is not None
            ]
    for name, value in known_values.items():
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
    style.log_axis(axes.xaxis, low, high, most=8)
    margin = 0.06 * (max(heights) - min(heights) or 1.0)
    axes.set_ylim(min(heights) - margin, max(heights) + margin)
    axes.set_xlabel(style.literal(settings.against))
    axes.set_ylabel(f"held-out {style.spelled(settings.metric)}")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure
