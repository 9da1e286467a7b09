"""The analysis of a comparison: contenders, their order, and the compute that would equal them."""

from collections.abc import Sequence

from lm_lab.report.analyses.comparison import arms
from lm_lab.report.analyses.comparison.cells import cell, find_places, scatter
from lm_lab.report.analyses.comparison.multipliers import multipliers
from lm_lab.report.analyses.comparison.order import compare, decisions
from lm_lab.report.analyses.comparison.records import Results, Settings
from lm_lab.report.stored import Row
from lm_lab.types import UserError


def analyse(rows: Sequence[Row], settings: Settings) -> Results:
    """Compares the contenders of a sweep.

    Raises UserError for a metric that no complete run has or whose direction is missing, if a
    contender has no complete run, or if no budget has two contenders.
    """
    arms.check_metric(settings, rows)
    runs = {arm: arms.ended(settings, arm, rows) for arm in settings.arms}
    found = find_places(runs)
    absent = [arm for arm in settings.arms if arm not in {place.arm for place in found}]
    if absent:
        raise UserError(
            f"no complete run of {', '.join(absent)} has {settings.metric}; finish the sweep, or "
            "mend analysis.arms or analysis.metric"
        )
    noise = scatter(found)
    cells = tuple(cell(place, noise, settings) for place in found)
    budgets = {each.budget for each in cells}
    if len(cells) == len(budgets):
        raise UserError(f"no two contenders have complete runs of one budget; {arms.REMEDY}")
    pairs, floor = compare(cells, noise, settings)
    return Results(
        settings=settings,
        cells=cells,
        multipliers=multipliers(cells, noise, settings),
        pairs=pairs,
        decisions=decisions(cells, pairs, noise, settings),
        noise=floor,
        missing=tuple(
            arm for arm in settings.arms if {c.budget for c in cells if c.arm == arm} != budgets
        ),
        text_apart=arms.text_apart(settings, rows),
    )
