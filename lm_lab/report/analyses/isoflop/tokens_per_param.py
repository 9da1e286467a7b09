"""D/N against C: how many tokens a parameter the optimum asks for, and whether that is constant."""

from matplotlib import figure as drawings

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.isoflop.allocation import LOOKS
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.scaling.records import IsoflopAnalysis

RULE = 20.0  # tokens a parameter: the rule of thumb drawn from 2203.15556


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure | None:
    """The figure with its caption; None without a law or a valley."""
    if not (analysis.frontiers or analysis.valleys):
        return None
    caption = (
        "Tokens a parameter at the optimum, D*/N*, against compute: the vertices of the valleys "
        "(open: held out) and the laws, as their values alone, because the interval of a ratio is "
        "not that of its parts. Grey: the points that were run; dotted: 20 tokens a parameter, "
        "the rule of thumb of 2203.15556, which counts N and D in its own way."
    )
    return Figure(
        "tokens_per_param",
        "Tokens a parameter at the optimum",
        caption,
        "Optimal tokens a parameter against compute by two methods.",
        lambda: draw(analysis, source),
    )


def draw(analysis: IsoflopAnalysis, source: Source) -> drawings.Figure:
    """Draws D*/N* of the valleys and of each law, over the points that were run."""
    drawing, (axes,) = style.panels(5.2, 3.3)
    points = analysis.points
    flops = [point.flops for point in points]
    ratios = [point.tokens / point.params for point in points]
    grey = {"markersize": 3, "markeredgewidth": 0, "color": style.FAINT, "zorder": 1}
    notes, runs = [source.words(p) for p in points], [source.runs(p) for p in points]
    marks.points(axes, flops, ratios, "points run", words=notes, runs=runs, **grey)
    for frontier in analysis.frontiers:
        colour, dashes, width, _ = LOOKS[frontier.method]
        ratio = [d / n for d, n in zip(frontier.tokens.value, frontier.params.value)]
        look = {"color": colour, "linestyle": dashes, "linewidth": width, "zorder": 3}
        marks.curve(
            axes, frontier.params.flops, ratio, frontier.method, label=frontier.method, **look
        )
    held_out = {point.budget for point in points if point.held_out}
    for valley in analysis.valleys:
        is_held_out = valley.budget in held_out
        colour = style.HELD_OUT if is_held_out else style.APPROACH_2
        ratio = valley.tokens.value / valley.params.value
        marks.points(
            axes,
            [valley.flops],
            [ratio],
            "vertices, held out" if is_held_out else "vertices",
            words=[f"valley of {formatting.power(valley.budget)} FLOPs: {ratio:.3g} tokens a N"],
            marker="D",
            markersize=4.6,
            color=colour,
            markerfacecolor="white" if is_held_out else colour,
            zorder=5,
        )
    axes.axhline(RULE, color=style.MUTED, linestyle=":", linewidth=0.9, zorder=2)
    style.flops_axis(axes.xaxis, flops, [point.budget for point in points], 0.08)
    style.log_axis(axes.yaxis, *style.spread([*ratios, RULE], 0.06))
    axes.set_xlabel("compute $C$ (FLOPs)")
    axes.set_ylabel("tokens a parameter $D/N$")
    if analysis.frontiers:
        axes.legend(loc="best", borderaxespad=0.2)
    return drawing
