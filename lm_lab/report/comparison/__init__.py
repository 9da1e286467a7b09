"""The report of a comparison: which of several architectures is the better use of compute, time and
parameters.
"""

from lm_lab.report.comparison import drawing, words
from lm_lab.report.comparison.findings import Findings, Settings, check
from lm_lab.report.comparison.findings import find as analyse
from lm_lab.report.page import Block, Figure, Section, Story
from lm_lab.report.stored import Sweep

__all__ = ["Settings", "analyse", "check", "story"]


def story(findings: Findings, sweep: Sweep) -> Story:
    """The answer, its numbers and its evidence."""
    tables: list[Block] = [words.table(findings)]
    if findings.multipliers:
        tables.append(words.multipliers(findings))
    sections = [Section("Evidence", _figures(findings, sweep)), Section("Contenders", tables)]
    notices = words.notices(findings)
    if notices:
        sections.insert(0, Section("Cautions", notices))
    return Story(words.answer(findings), words.tiles(findings), sections)


def _figures(findings: Findings, sweep: Sweep) -> list[Block]:
    costs = Figure(
        "costs",
        "What bits per byte cost",
        "Held-out bits per byte against training FLOPs (counted), against the seconds of "
        "training, and against all "
        "parameters. A mark is a contender's best size at its best peak rate, mean over seeds; "
        "bars: intervals.",
        "Loss against compute, time and parameters, a line a contender.",
        lambda: drawing.costs(findings),
    )
    rates = Figure(
        "rates",
        "Peak-rate sensitivity",
        "Bits per byte above the contender's best (cut off above 30 %), against the peak rate, "
        "at its best size; mean "
        "over seeds. A best rate at either end of its line is not known to be the best.",
        "Excess loss against peak rate, a line a contender, a panel a budget.",
        lambda: drawing.rates(findings, sweep.measured),
    )
    tuned = any(cell.rates > 1 for cell in findings.cells)
    return [costs, rates] if tuned else [costs]
