"""N*(C) and D*(C): the compute-optimal split by approaches 2 and 3, with bands."""

from collections.abc import Sequence
from typing import Literal

from matplotlib import figure as drawings
from matplotlib.axes import Axes

from lm_lab.report import formatting, marks, style
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.analyses.isoflop.text import at
from lm_lab.report.page import Figure
from lm_lab.scaling.records import Band, Estimate, Frontier, IsoflopAnalysis, Valley

Quantity = Literal["params", "tokens"]

LOOKS = {
    "approach 2": (style.APPROACH_2, "-", 2.2, False),
    "approach 3": (style.APPROACH_3, (0, (4, 1.6)), 1.3, True),
}
"""Colour, dashes, width, and whether the band is outlined: two bands that coincide stay apart."""


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure | None:
    """The figure with its caption; None without a law or a valley."""
    if not (analysis.frontiers or analysis.valleys):
        return None
    caption = (
        "Compute-optimal parameters N* and tokens D* against compute. Diamonds: vertices of the "
        "valleys (open: held out, not fitted). Lines: the laws of approach 2 (solid, shaded band) "
        "and approach 3 (dashed, dotted band), with exponents and "
        f"{formatting.percent(analysis.level)} bands."
    )
    if _reference(analysis) is not None:
        caption += " Below: the same, divided by the law of approach 3 (else 2)."
    return Figure(
        "allocation",
        "How compute should be split",
        caption,
        "Optimal parameters and optimal tokens against compute on log axes, by two methods, with "
        "bands; below, their ratio to one law.",
        lambda: draw(analysis),
    )


def draw(analysis: IsoflopAnalysis) -> drawings.Figure:
    """Optimal parameters and tokens against compute; below, divided by one method's law."""
    reference = _reference(analysis)
    height, rows = (3.1, 1) if reference is None else (4.4, 2)
    drawing, panels = style.panels(
        style.PAGE_INCHES, height, columns=2, rows=rows, heights=(2.6, 1.3)[:rows]
    )
    drawing.set_layout_engine("constrained", wspace=0.04)
    quantities: list[tuple[Quantity, str, str]] = [
        ("params", "a", "optimal parameters $N$*"),
        ("tokens", "b", "optimal tokens $D$*"),
    ]
    for place, (quantity, letter, label) in enumerate(quantities):
        _panel(panels[place], analysis, quantity, letter, label)
        if reference is not None:
            _ratios(panels[place + 2], analysis, quantity, reference)
            panels[place].set_xlabel("")
            panels[place].tick_params(labelbottom=False)
    return drawing


def _reference(analysis: IsoflopAnalysis) -> Frontier | None:
    return analysis.frontier("approach 3") or analysis.frontier("approach 2")


def _panel(
    axes: Axes, analysis: IsoflopAnalysis, quantity: Quantity, letter: str, label: str
) -> None:
    flops = _compute(analysis)
    reach: list[float] = []
    for frontier in analysis.frontiers:
        exponent = frontier.exponent_params if quantity == "params" else frontier.exponent_tokens
        label_of_line = f"{frontier.method}: ${letter}$ = {formatting.estimate(exponent)}"
        _line(axes, frontier, _band(frontier, quantity), label_of_line)
        band = _band(frontier, quantity)
        reach += [
            value
            for compute, value in zip(band.flops, band.value)
            if min(flops) <= compute <= max(flops)
        ]
    _vertices(
        axes, analysis, [(vertex, _vertex(vertex, quantity)) for vertex in analysis.valleys], letter
    )
    reach += _reach([_vertex(valley, quantity) for valley in analysis.valleys])
    style.flops_axis(axes.xaxis, flops, [point.budget for point in analysis.points], 0.08)
    low, high = style.spread(reach, 0.05)
    style.log_axis(axes.yaxis, low, high * (high / low) ** 0.15)
    axes.set_xlabel("compute $C$ (FLOPs)")
    axes.set_ylabel(label)
    axes.legend(loc="upper left", borderaxespad=0.2, handletextpad=0.6)


def _ratios(axes: Axes, analysis: IsoflopAnalysis, quantity: Quantity, reference: Frontier) -> None:
    """The bands and the vertices over the reference law, where the laws lie apart or not."""
    flops, law = _compute(analysis), _band(reference, quantity)
    for frontier in analysis.frontiers:
        _line(axes, frontier, _over(_band(frontier, quantity), law.value), None)
    shares = [
        (valley, _divided(_vertex(valley, quantity), at(law, valley.flops).value))
        for valley in analysis.valleys
    ]
    _vertices(axes, analysis, shares, "")
    inside = [
        bound
        for frontier in analysis.frontiers
        for band in [_over(_band(frontier, quantity), law.value)]
        for x, low, high in zip(band.flops, band.low, band.high)
        for bound in (low, high)
        if bound is not None and min(flops) <= x <= max(flops)
    ]
    reach = [1.0, *inside, *_reach([share for _, share in shares])]
    style.flops_axis(axes.xaxis, flops, [point.budget for point in analysis.points], 0.08)
    low, high = style.spread([max(0.1, min(reach)), min(10.0, max(reach))], 0.08)
    style.log_axis(axes.yaxis, low, high, most=5)
    axes.set_xlabel("compute $C$ (FLOPs)")
    axes.set_ylabel(f"{'$N$*' if quantity == 'params' else '$D$*'} / {reference.method}")


def _line(axes: Axes, frontier: Frontier, band: Band, label: str | None) -> None:
    colour, dashes, width, outlined = LOOKS[frontier.method]
    look = {"linestyle": dashes, "linewidth": width, "label": label, "zorder": 3 + outlined}
    marks.band(axes, band, frontier.method, colour, outlined=outlined, **look)


def _vertices(
    axes: Axes,
    analysis: IsoflopAnalysis,
    vertices: Sequence[tuple[Valley, Estimate]],
    letter: str,
) -> None:
    held_out = {point.budget for point in analysis.points if point.held_out}
    for is_held_out in (False, True):
        shown = [vertex for vertex in vertices if (vertex[0].budget in held_out) == is_held_out]
        if not shown:
            continue
        colour = style.HELD_OUT if is_held_out else style.APPROACH_2
        marks.estimates(
            axes,
            [valley.flops for valley, _ in shown],
            [estimate for _, estimate in shown],
            "vertices, held out" if is_held_out else "vertices",
            words=[
                f"valley of {formatting.power(valley.budget)} FLOPs: {_shown(estimate)}"
                for valley, estimate in shown
            ],
            color=colour,
            markerfacecolor="white" if is_held_out else colour,
            markersize=4.6,
            zorder=6,
        )
    if letter and held_out & {valley.budget for valley, _ in vertices}:
        look = {"color": style.HELD_OUT, "markerfacecolor": "white", "markersize": 4.6}
        axes.plot([], [], "D", **look, label="held out, not fitted")


def _compute(analysis: IsoflopAnalysis) -> list[float]:
    return [item.flops for item in (*analysis.valleys, *analysis.points)]


def _band(frontier: Frontier, quantity: Quantity) -> Band:
    return frontier.params if quantity == "params" else frontier.tokens


def _vertex(valley: Valley, quantity: Quantity) -> Estimate:
    return valley.params if quantity == "params" else valley.tokens


def _reach(estimates: Sequence[Estimate]) -> list[float]:
    bounds = [
        bound for estimate in estimates for bound in (estimate.value, estimate.low, estimate.high)
    ]
    return [bound for bound in bounds if bound is not None]


def _over(band: Band, values: Sequence[float]) -> Band:
    def shares(heights: Sequence[float | None]) -> tuple[float | None, ...]:
        return tuple(None if y is None else y / value for y, value in zip(heights, values))

    value = tuple(y / below for y, below in zip(band.value, values))
    return Band(band.flops, value, shares(band.low), shares(band.high))


def _divided(of: Estimate, value: float) -> Estimate:
    low, high = (None if bound is None else bound / value for bound in (of.low, of.high))
    return Estimate(of.value / value, low, high)


def _shown(of: Estimate) -> str:
    if of.low is None or of.high is None:
        return formatting.short(of.value)
    return f"{formatting.short(of.value)} [{formatting.short(of.low)}, {formatting.short(of.high)}]"
