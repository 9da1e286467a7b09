"""The report of an isoFLOP study: how the compute-optimal model size and data grow with compute.

Each figure is a file of this package, listed in `figures`; `text` writes the answer, `tables` the
numbers behind it.
"""

from lm_lab.report import curves, ladder
from lm_lab.report.analyses.isoflop import conventions, figures, tables, text
from lm_lab.report.analyses.isoflop.design import DESIGNER
from lm_lab.report.analyses.isoflop.forecast import FORECASTER
from lm_lab.report.analyses.isoflop.results import Results, Settings, analyse, check
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.contract import Analysis
from lm_lab.report.page import Block, Report, Section
from lm_lab.report.stored import Sweep, budget
from lm_lab.scaling.records import IsoflopAnalysis


def report(results: Results, sweep: Sweep, source: Source | None = None) -> Report:
    """The answer, its key numbers and the evidence; `source` describes points that are not runs of
    a sweep.
    """
    analysis = results.analysis
    sections = [
        Section("Evidence", _figures(analysis, sweep, source)),
        Section("Laws", _laws(results, sweep.unit)),
    ]
    notices = tables.notices(analysis)
    if notices:
        sections.insert(0, Section("Refusals and cautions", notices))
    return Report(text.answer(results, sweep.unit), text.headlines(analysis), sections)


def _laws(results: Results, unit: str) -> list[Block]:
    analysis = results.analysis
    blocks: list[Block] = (
        [tables.laws(analysis)]
        if analysis.frontiers
        else ["No law could be fitted; the refusals say why."]
    )
    formulas = tables.formulas(analysis, unit)
    blocks += [formulas] if formulas is not None else []
    blocks += [tables.valleys(analysis, unit)] if analysis.valleys else []
    blocks += [tables.variants(analysis)] if analysis.variants else []
    best = tables.chosen(analysis)
    blocks += [best] if best is not None else []
    blocks += [tables.comparisons(analysis, unit)] if analysis.comparisons else []
    blocks += [tables.counts(results)] if analysis.frontiers and results.counts[1:] else []
    return [*blocks, *([conventions.table(results.conventions)] if results.conventions else [])]


def _figures(analysis: IsoflopAnalysis, sweep: Sweep, source: Source | None) -> list[Block]:
    if not analysis.points:
        return ["No run left a point to draw."]
    finals = {name: result.get("final") or {} for name, result in sweep.results.items()}
    source = source or Source(sweep.unit, rows=sweep.measured, finals=finals)
    blocks: list[Block] = [*figures.of(analysis, source)]
    held_out = next((point.budget for point in analysis.points if point.held_out), None)
    runs = [(str(row["name"]), budget(row)) for row in sweep.finished]
    lines = curves.figure(curves.budget_lines(runs, held_out), sweep.curves, sweep.unit)
    if lines is None:
        return blocks
    rungs = {sweep.study.name: ladder.best_runs(sweep.measured)}
    return [*blocks, lines, *ladder.blocks(rungs, sweep)]


ANALYSIS = Analysis(Settings, analyse, report, check, FORECASTER, DESIGNER)
