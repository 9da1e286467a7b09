"""The report of a law of scaling/forms: its parameters, predictions and residuals."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lm_lab.report import formatting, marks, page, style
from lm_lab.scaling.columns import MEANINGS
from lm_lab.scaling.contract import Form, FormFit, Parameter
from lm_lab.scaling.records import Caution


def report(form: Form, fit: FormFit, level: float, of_table: Sequence[Caution]) -> page.Report:
    """The answer, the parameters and the figures; `of_table` are cautions of the table."""
    sections = [
        page.Section("Evidence", figures(form, fit, level)),
        page.Section("Parameters", [_table(fit)]),
    ]
    cautions = [*of_table, *fit.cautions]
    if cautions:
        notices = [
            page.Notice(item.kind.capitalize(), formatting.placed(item.where, item.message) + ".")
            for item in cautions
        ]
        sections.insert(0, page.Section("Cautions", notices))
    headlines = [page.Headline(item.name, *_value(item, level)) for item in fit.parameters[:4]]
    return page.Report(_answer(fit, level), headlines, sections)


def figures(form: Form, fit: FormFit, level: float) -> list[page.Figure]:
    """The law as a curve, if it has one input; what it predicts, and what it leaves over."""
    curve = [_curve(form, fit, level)] if len(fit.inputs) == 1 else []
    return [*curve, _predictions(fit, level), _residuals(fit)]


def lines(fit: FormFit) -> list[str]:
    """The law as lines of text: its formula, its parameters with intervals, the noise left."""
    text = [f"{fit.formula}   ({fit.source}), {len(fit.observed)} points"]
    width = max(len(parameter.name) for parameter in fit.parameters)
    text += [
        f"  {each.name:{width}} {formatting.estimate(each.estimate)} {each.unit}".rstrip()
        for each in fit.parameters
    ]
    if fit.noise is not None:
        text.append(f"  residual s.d. {_noise(fit)}")
    return text


def draw_curve(form: Form, fit: FormFit, level: float) -> Figure:
    """The target against the law's one input, with the law and its interval."""
    figure, (axes,) = style.panels(4.2, 3.2)
    ((name, values),) = fit.inputs.items()
    low, high = style.spread(values, 0.08)
    along = np.geomspace(low, high, 200)
    value, bottom, top = form.predict(fit, {name: along}, level)
    if fit.draws:
        axes.fill_between(
            along, bottom, top, color=style.APPROACH_2, alpha=0.16, linewidth=0, zorder=1
        )
    marks.curve(axes, along, value, "law", color=style.APPROACH_2, zorder=2)
    marks.points(axes, values, fit.observed, "observed", color=style.INK, markersize=3.6, zorder=3)
    style.log_axis(axes.xaxis, low, high, most=6)
    if fit.relative:
        style.log_axis(axes.yaxis, *style.spread([*fit.observed, *value]), most=6)
    axes.set_xlabel(MEANINGS[name].partition(";")[0])
    axes.set_ylabel(MEANINGS[fit.target].partition(";")[0])
    return figure


def draw_predictions(fit: FormFit) -> Figure:
    """Observed against predicted, with the interval of the law at each point."""
    figure, (axes,) = style.panels(4.2, 3.8)
    values = np.array([prediction.value for prediction in fit.predicted])
    low, high = (
        np.array([np.nan if end is None else end for end in ends])
        for ends in zip(*((prediction.low, prediction.high) for prediction in fit.predicted))
    )
    reach = [min(values.min(), *fit.observed), max(values.max(), *fit.observed)]
    room = 0.04 * (reach[1] - reach[0])
    limits = (reach[0] - room, reach[1] + room)
    axes.plot(limits, limits, color=style.FAINT, linewidth=0.8, zorder=1)
    axes.hlines(fit.observed, low, high, color=style.APPROACH_2, alpha=0.4, linewidth=1, zorder=2)
    axes.plot(values, fit.observed, "o", color=style.APPROACH_2, markersize=3.6, zorder=3)
    axes.set(xlim=limits, ylim=limits)
    axes.set_xlabel(f"{fit.target} by the law")
    axes.set_ylabel(f"{fit.target} observed")
    return figure


def draw_residuals(fit: FormFit) -> Figure:
    """The residuals of the law against each of its inputs; grey: one residual s.d."""
    figure, panels = style.panels(style.PAGE_INCHES, 2.6, columns=max(2, len(fit.inputs)))
    scale = 100 if fit.relative else 1
    for axes in panels[len(fit.inputs) :]:
        axes.set_visible(False)
    for axes, (name, values) in zip(panels, fit.inputs.items()):
        axes.axhline(0, color=style.MUTED, linewidth=0.7)
        if fit.noise is not None:
            ends = (-scale * fit.noise, scale * fit.noise)
            axes.axhspan(*ends, color=style.FAINT, alpha=0.35, linewidth=0)
        left = scale * np.array(fit.residuals)
        axes.plot(values, left, "o", color=style.APPROACH_2, markersize=3.6)
        if len(set(values)) > 1:
            style.log_axis(axes.xaxis, *style.spread(values, 0.08), most=5)
        axes.set_xlabel(MEANINGS[name].partition(";")[0])
    panels[0].set_ylabel(
        f"residual, log({fit.target} / law) (%)" if fit.relative else f"{fit.target} - law"
    )
    return figure


def _answer(fit: FormFit, level: float) -> Sequence[str]:
    pairs = [f"{item.name} = {formatting.estimate(item.estimate)}" for item in fit.parameters]
    noise = f" It leaves a residual s.d. of {_noise(fit)}." if fit.noise is not None else ""
    doubts = [item.kind for item in fit.cautions]
    weak = f" Where it is weak (cautions below): {formatting.listed(doubts)}." if doubts else ""
    return [
        f"The law {fit.formula} ({fit.source}), fitted to {len(fit.observed)} points: "
        f"{'; '.join(pairs)}.",
        f"Brackets are {formatting.percent(level)} intervals of these points' noise.{noise}{weak} "
        "That the law has this form is assumed, not tested, outside the points' range.",
    ]


def _noise(fit: FormFit) -> str:
    noise = fit.noise or 0.0
    return f"{formatting.percent(noise)} of {fit.target}" if fit.relative else f"{noise:.3g}"


def _value(parameter: Parameter, level: float) -> tuple[str, str]:
    shown, bounds = formatting.rounded(parameter.estimate)
    interval = f"{formatting.percent(level)} interval {bounds}" if bounds else "no interval"
    return shown, f"{interval} {parameter.unit}".strip()


def _table(fit: FormFit) -> page.Table:
    rows = [
        [parameter.name, formatting.estimate(parameter.estimate), parameter.unit]
        for parameter in fit.parameters
    ]
    caption = f"Condition number {formatting.plain(fit.condition, 3)}."
    return page.Table(["parameter", "value", "unit"], rows, caption)


def _curve(form: Form, fit: FormFit, level: float) -> page.Figure:
    ((name, _),) = fit.inputs.items()
    caption = (
        f"{fit.target.capitalize()} against {name}: {len(fit.observed)} points, the law, and its "
        f"{formatting.percent(level)} interval without the noise of a run."
    )
    alt = f"The {fit.target} of each point against its {name}, with the law through them."
    return page.Figure("law", "The law", caption, alt, lambda: draw_curve(form, fit, level))


def _predictions(fit: FormFit, level: float) -> page.Figure:
    caption = (
        f"Each point's {fit.target} against the law's. Bars: {formatting.percent(level)} interval "
        f"of the law. {len(fit.observed)} points."
    )
    alt = "Observed against predicted values, near the diagonal where the law fits."
    title = "Observed and predicted"
    return page.Figure("predictions", title, caption, alt, lambda: draw_predictions(fit))


def _residuals(fit: FormFit) -> page.Figure:
    caption = (
        "What the law leaves over, against each of its inputs. Grey: one residual s.d. A trend "
        "here would be a fault of the form, not noise."
    )
    alt = "Residuals of the law against each of its inputs."
    return page.Figure("residuals", "Residuals", caption, alt, lambda: draw_residuals(fit))
