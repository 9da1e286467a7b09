"""The report of an isoFLOP study: how the compute-optimal model size and data grow with compute.

Each figure is a file of this package; `text` writes the answer, `tables` the numbers behind it.
"""

from lm_lab.report import curves, formatting, ladder
from lm_lab.report.analyses.isoflop import (
    allocation,
    frontier,
    rates,
    residuals,
    tables,
    text,
    valleys,
)
from lm_lab.report.analyses.isoflop.design import DESIGNER
from lm_lab.report.analyses.isoflop.forecast import FORECASTER
from lm_lab.report.analyses.isoflop.results import Results, Settings, analyse, check
from lm_lab.report.contract import Analysis
from lm_lab.report.page import Block, Figure, Report, Section
from lm_lab.report.stored import Sweep, budget
from lm_lab.scaling.records import IsoflopAnalysis

RATE = "optimizer.peak_rate"


def report(results: Results, sweep: Sweep) -> Report:
    """The answer, its key numbers and the evidence."""
    analysis = results.analysis
    sections = [
        Section("Evidence", _figures(analysis, sweep)),
        Section("Laws", _laws(results, sweep.unit)),
    ]
    notices = tables.notices(analysis)
    if notices:
        sections.insert(0, Section("Refusals and cautions", notices))
    return Report(text.answer(results, sweep.unit), text.headlines(analysis), sections)


def _laws(results: Results, unit: str) -> list[Block]:
    analysis = results.analysis
    made: list[Block] = (
        [tables.laws(analysis)]
        if analysis.frontiers
        else ["No law could be fitted; the refusals say why."]
    )
    formulas = tables.formulas(analysis, unit)
    made += [formulas] if formulas is not None else []
    made += [tables.valleys(analysis, unit)] if analysis.valleys else []
    made += [tables.variants(analysis)] if analysis.variants else []
    return [*made, tables.counts(results)] if analysis.frontiers else made


def _figures(analysis: IsoflopAnalysis, sweep: Sweep) -> list[Block]:
    if not analysis.points:
        return ["No run left a point to draw."]
    made: list[Block] = [_valleys(analysis, sweep)]
    if analysis.frontiers or analysis.valleys:
        made.append(_allocation(analysis))
    made.append(_frontier(analysis, sweep.unit))
    if any(point.residual is not None for point in analysis.points):
        made.append(_residuals(analysis, sweep.unit))
    lines = rates.mean_losses(sweep.measured, RATE)
    if lines:
        made.append(_rates(lines))
    if curves.drawable(sweep.curves):
        made.append(_curves(analysis, sweep))
        made += ladder.blocks({sweep.study.name: ladder.best_runs(sweep.measured)}, sweep)
    return made


def _valleys(analysis: IsoflopAnalysis, sweep: Sweep) -> Figure:
    hidden = valleys.above_frame(analysis, sweep.measured)
    caption = (
        "Held-out loss against parameters N, one colour a compute budget. Solid: each size at its "
        "best peak rate, mean over seeds; grey: every run. Curves: parabolas in log N. Diamonds: "
        f"their vertices, the compute-optimal sizes, with {formatting.percent(analysis.level)} "
        "intervals of N*."
    )
    caption += (
        " Open and dashed: the held-out budget, which no law was fitted to."
        if _holds_out(analysis)
        else ""
    )
    caption += (
        f" {formatting.many(hidden, 'run').capitalize()} far above lie outside the frame."
        if hidden
        else ""
    )
    alt = "Loss against model size at each compute budget, with a parabola through each."
    return Figure(
        "valleys",
        "IsoFLOP valleys",
        caption,
        alt,
        lambda: valleys.draw(analysis, sweep.measured, sweep.unit),
    )


def _allocation(analysis: IsoflopAnalysis) -> Figure:
    caption = (
        "Compute-optimal parameters N* and tokens D* against compute. Diamonds: vertices of the "
        "valleys; lines: the laws fitted by approach 2 and approach 3, with exponents and "
        f"{formatting.percent(analysis.level)} bootstrap bands."
    )
    alt = (
        "Optimal parameters and optimal tokens against compute on log axes, by two methods, with "
        "bands."
    )
    return Figure(
        "allocation", "How compute should be split", caption, alt, lambda: allocation.draw(analysis)
    )


def _frontier(analysis: IsoflopAnalysis, unit: str) -> Figure:
    caption = (
        "Held-out loss against compute. Grey: the best of each size; black: the best of each "
        "budget below the one held out, if any."
    )
    caption += (
        " Line: the lowest loss by the fitted law, with its band." if analysis.frontiers else ""
    )
    if analysis.held_out is not None:
        caption += (
            " Star: the best loss at the held-out budget; bar: what was predicted for it from the "
            "smaller ones."
        )
    alt = "Loss against compute with the fitted curve and the held-out point."
    return Figure(
        "frontier", "Loss against compute", caption, alt, lambda: frontier.draw(analysis, unit)
    )


def _residuals(analysis: IsoflopAnalysis, unit: str) -> Figure:
    caption = (
        "What the surface of approach 3 leaves over, against size, data and its own prediction. "
        "Grey: one residual s.d. of the fit. A trend here would be a fault of the form, not noise."
    )
    alt = "Residuals of the fitted surface against parameters, tokens and predicted loss."
    return Figure(
        "residuals", "Residuals of approach 3", caption, alt, lambda: residuals.draw(analysis, unit)
    )


def _rates(lines: rates.Lines) -> Figure:
    caption = (
        "What a wrong peak rate costs: loss above that of the best rate tried, mean over seeds, a "
        "line a model size (darker is larger). A best rate at either end of its line is not known "
        "to be the best."
    )
    alt = "Excess loss against peak rate for each model size, a panel a budget."
    return Figure("rates", "Peak-rate sensitivity", caption, alt, lambda: rates.draw(lines))


def _curves(analysis: IsoflopAnalysis, sweep: Sweep) -> Figure:
    caption = (
        "Training loss of every complete run against its compute. Black: the lowest that any of "
        "them reached with no more compute."
    )
    held_out = next((point.budget for point in analysis.points if point.held_out), None)
    runs = [(str(row["name"]), budget(row)) for row in sweep.finished]
    alt = "Training loss against compute for all runs, with the lower envelope."
    return Figure(
        "curves",
        "Training curves",
        caption,
        alt,
        lambda: curves.draw(runs, sweep.curves, held_out, sweep.unit),
    )


def _holds_out(analysis: IsoflopAnalysis) -> bool:
    return any(point.held_out for point in analysis.points)


ANALYSIS = Analysis(Settings, analyse, report, check, FORECASTER, DESIGNER)
