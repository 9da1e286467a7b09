"""The report of a comparison: which architecture makes the best use of compute and time.

By bits per byte, or by any other metric of results.csv, in the direction that is good (scale.py).
Each contender has the size that is best for it, by its own valley. Settings are chosen on other
text than is reported (train.selection_batches), and the expected luck of choosing the best is
subtracted. Pairs are compared with simultaneous intervals; intervals of compute shares include seed
noise and the form of the reference's law.
"""

from lm_lab.report import ladder
from lm_lab.report.analyses.comparison import drawing, tables, text
from lm_lab.report.analyses.comparison.arms import check
from lm_lab.report.analyses.comparison.records import Results, Settings
from lm_lab.report.analyses.comparison.results import analyse
from lm_lab.report.analyses.comparison.scale import BITS
from lm_lab.report.contract import Analysis
from lm_lab.report.page import Block, Figure, Report, Section
from lm_lab.report.stored import Sweep


def report(results: Results, sweep: Sweep) -> Report:
    """The answer, its key numbers and the evidence."""
    sections = [
        Section("Evidence", [*_figures(results, sweep), *_ladders(results, sweep)]),
        Section("Contenders", _tables(results)),
    ]
    notices = text.notices(results)
    if notices:
        sections.insert(0, Section("Cautions", notices))
    return Report(text.answer(results), text.headlines(results), sections)


def _tables(results: Results) -> list[Block]:
    made: list[Block] = [tables.contenders(results), tables.pairs(results)]
    if results.multipliers:
        made.append(tables.multipliers(results))
    if any(cell.sizes > 1 for cell in results.cells):
        made.append(tables.sizes(results))
    return made


def _figures(results: Results, sweep: Sweep) -> list[Block]:
    made: list[Block] = [_costs(results)]
    if results.multipliers:
        made.append(_multipliers(results))
    if any(cell.sizes > 1 for cell in results.cells):
        made.append(_valleys(results))
    if any(cell.rates > 1 for cell in results.cells):
        made.append(_rates(results, sweep))
    if any(name in sweep.curves for cell in results.cells for name in cell.runs):
        made.append(_learning(results, sweep))
    return made


def _ladders(results: Results, sweep: Sweep) -> list[Block]:
    """Each contender's ladder of best runs, its curves normalised."""
    runs = {
        arm: {cell.budget: cell.runs for cell in results.cells if cell.arm == arm}
        for arm in results.settings.arms
    }
    return ladder.blocks(runs, sweep)


def _costs(results: Results) -> Figure:
    scale = results.settings.scale
    return Figure(
        "costs",
        f"What {scale.noun} cost{'' if scale.noun == BITS else 's'}",
        f"{scale.heading} against training FLOPs (counted), against the seconds of training, and "
        "against all parameters. A mark is a contender at the size and peak rate that are best "
        "for it; bars: the interval of each alone (the table of pairs says which are told apart).",
        f"{scale.quantity.capitalize()} against compute, time and parameters, a line a contender.",
        lambda: drawing.costs(results),
    )


def _multipliers(results: Results) -> Figure:
    reference, scale = results.settings.reference, results.settings.scale
    held = f"seed noise. Only where {reference} has reached as much."
    if scale.is_ratio:
        held = (
            f"seed noise and every law of {reference} that its cells allow; an arrow: one of these "
            f"never gets there. Open: beyond the losses that {reference} reached."
        )
    return Figure(
        "multipliers",
        "Compute multipliers",
        f"Compute with which {reference} reaches a contender's {scale.quantity}, as a share of the "
        f"contender's: above 1 the contender makes more of it. Bars: {held}",
        "Compute multiplier against budget, a line a contender.",
        lambda: drawing.multipliers(results),
    )


def _valleys(results: Results) -> Figure:
    scale = results.settings.scale
    return Figure(
        "valleys",
        "A size of its own for each",
        f"{scale.heading} against parameters N (of matrix products, head included), at the best "
        "peak rate of every size, means over seeds. Curves: parabolas through the sizes near the "
        f"{scale.best}; dotted: no vertex among the sizes tried.",
        f"{scale.quantity.capitalize()} against model size for each contender, a panel a budget.",
        lambda: drawing.valleys(results),
    )


def _rates(results: Results, sweep: Sweep) -> Figure:
    scale = results.settings.scale
    cut = " (cut off above 30 %)" if scale.is_ratio else ""
    return Figure(
        "rates",
        "Peak-rate sensitivity",
        f"{scale.capital} {scale.worse} the contender's best{cut}, against the peak rate, at its "
        "best size; mean over seeds. A best rate at either end of its line is not known to be "
        "the best.",
        f"Excess {scale.quantity} against peak rate, a line a contender, a panel a budget.",
        lambda: drawing.rates(results, sweep.measured),
    )


def _learning(results: Results, sweep: Sweep) -> Figure:
    return Figure(
        "curves",
        "Learning curves",
        "Training loss against compute, of the runs of each contender's best size and peak rate, a "
        "line a seed. Contenders with another objective have another training loss; the held-out "
        "comparison above is the same for all.",
        "Training loss against compute, a line a run, a panel a budget.",
        lambda: drawing.learning(results, sweep.curves, sweep.unit),
    )


ANALYSIS = Analysis(Settings, analyse, report, check)
