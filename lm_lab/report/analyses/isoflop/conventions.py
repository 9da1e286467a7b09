"""The law with C counted as other papers count it: how much of an exponent is bookkeeping."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lm_lab.compute.conventions import CONVENTIONS
from lm_lab.report import formatting
from lm_lab.report.analyses.isoflop.reading import at, largest_fitted, preferred
from lm_lab.report.page import Cell, Table
from lm_lab.report.stored import Row
from lm_lab.scaling.records import Estimate, IsoflopAnalysis

COUNTED = "counted"
PREFIX = "flops_"  # a column flops_6N_body has the FLOPs of a run by that convention


@dataclass(frozen=True)
class Refit:
    """The exponent of N* in C, and N* at the runs of the largest budget fitted, with C counted by
    one convention. None if that fit was refused.
    """

    convention: str
    approach_2: Estimate | None
    approach_3: Estimate | None
    params: Estimate | None


def refits(
    rows: Sequence[Row],
    analysis: IsoflopAnalysis,
    analyse: Callable[[Sequence[Row]], IsoflopAnalysis],
) -> tuple[Refit, ...]:
    """One for the counted C (that is `analysis`), and one for every convention that all complete
    rows have. Budgets group the same runs in all of them.
    """
    complete = [row for row in rows if row.get("status", "complete") == "complete"]
    counted_ways = [_refit(COUNTED, analysis)]
    for name in CONVENTIONS:
        column = PREFIX + name
        if complete and all(row.get(column) for row in complete):
            counted = [{**row, "flops": row.get(column)} for row in rows]
            same = all(
                counted_row["flops"] == row.get("flops") for counted_row, row in zip(counted, rows)
            )
            counted_ways.append(_refit(name, analysis if same else analyse(counted)))
    return tuple(counted_ways) if len(counted_ways) > 1 else ()


def _refit(name: str, analysis: IsoflopAnalysis) -> Refit:
    two, three = analysis.frontier("approach 2"), analysis.frontier("approach 3")
    best = preferred(analysis)
    params = None if best is None else at(best.params, largest_fitted(analysis))
    a_2, a_3 = (None if frontier is None else frontier.exponent_params for frontier in (two, three))
    return Refit(name, a_2, a_3, params)


def table(refitted: Sequence[Refit]) -> Table:
    """The exponent of N* by how C is counted."""
    header = ["FLOPs counted", "a, approach 2", "a, approach 3", "N*"]
    rows: list[list[Cell]] = [
        [
            _words(refit.convention),
            *(
                None if a is None else formatting.estimate(a)
                for a in (refit.approach_2, refit.approach_3)
            ),
            None if refit.params is None else formatting.short_estimate(refit.params),
        ]
        for refit in refitted
    ]
    caption = (
        "The same runs with C counted in other ways, N as everywhere else; N* at the largest "
        "budget fitted. Everywhere else C is the first of these."
    )
    return Table(header, rows, caption)


def _words(convention: str) -> str:
    if convention == COUNTED:
        return "every matrix product of the program, forward and backward"
    return CONVENTIONS[convention].formula
