"""The report of a comparison: which architecture makes the best use of compute and time."""

from lm_lab.report.analyses.comparison import drawing, text
from lm_lab.report.analyses.comparison.results import Results, Settings, analyse, check
from lm_lab.report.contract import Analysis
from lm_lab.report.page import Block, Figure, Report, Section
from lm_lab.report.stored import Sweep


def report(results: Results, sweep: Sweep) -> Report:
    """The answer, its key numbers and the evidence."""
    tables: list[Block] = [text.table(results)]
    if results.multipliers:
        tables.append(text.multipliers(results))
    sections = [Section("Evidence", _figures(results, sweep)), Section("Contenders", tables)]
    notices = text.notices(results)
    if notices:
        sections.insert(0, Section("Cautions", notices))
    return Report(text.answer(results), text.headlines(results), sections)


def _figures(results: Results, sweep: Sweep) -> list[Block]:
    costs = Figure(
        "costs",
        "What bits per byte cost",
        "Held-out bits per byte against training FLOPs (counted), against the seconds of training, "
        "and against all parameters. A mark is a contender's best size at its best peak rate, mean "
        "over seeds; bars: intervals.",
        "Loss against compute, time and parameters, a line a contender.",
        lambda: drawing.costs(results),
    )
    rates = Figure(
        "rates",
        "Peak-rate sensitivity",
        "Bits per byte above the contender's best (cut off above 30 %), against the peak rate, at "
        "its best size; mean over seeds. A best rate at either end of its line is not known to be "
        "the best.",
        "Excess loss against peak rate, a line a contender, a panel a budget.",
        lambda: drawing.rates(results, sweep.measured),
    )
    tuned = any(cell.rates > 1 for cell in results.cells)
    return [costs, rates] if tuned else [costs]


ANALYSIS = Analysis(Settings, analyse, report, check)
