"""The results of an isoFLOP report: the analysis, and its exponents by what is counted as N."""

from collections.abc import Sequence
from dataclasses import dataclass

from lm_lab.report.analyses.isoflop.conventions import Refit, refits
from lm_lab.report.stored import Row
from lm_lab.runs.sweep import swept
from lm_lab.scaling.analysis import analyse_isoflop
from lm_lab.scaling.points import points_from_rows
from lm_lab.scaling.records import Estimate, IsoflopAnalysis, Predictor
from lm_lab.schema import setting
from lm_lab.types import UserError

COUNTS = {
    "params": "parameters of matrix products, head included",
    "params_body": "matrix parameters of the layers alone",
    "params_total": "every parameter",
}
"""The columns that N may be read from, and what each counts.

N is the first everywhere except in the table of counts.
"""


@dataclass(frozen=True)
class Settings:
    """The keys of a study's "analysis", other than its kind."""

    held_out_budget: float | None = setting(
        "budget in FLOPs that no fit sees and that is predicted", None, low=1
    )
    predictor: Predictor = setting(
        "what predicts the held-out budget; choose it before you see the runs", "surface"
    )
    level: float = setting("probability of the intervals", 0.9, low=0.5, high=0.999)
    draws: int = setting("draws of each interval", 1000, low=20, high=100_000)
    seed: int = setting("seed of the draws", 0, low=0)


@dataclass(frozen=True)
class Count:
    """The exponent of N* in C with N from the column `params`; None if that fit was refused."""

    params: str
    approach_2: Estimate | None
    approach_3: Estimate | None


@dataclass(frozen=True)
class Results:
    """The results that analysis.json stores."""

    settings: Settings
    analysis: IsoflopAnalysis
    counts: tuple[Count, ...]
    conventions: tuple[Refit, ...] = ()


def check(settings: Settings, rows: Sequence[Row]) -> None:
    """Raises UserError if no planned run has the held-out budget."""
    budgets = sorted({float(row["budget_flops"]) for row in rows if row.get("budget_flops")})
    held_out = settings.held_out_budget
    if held_out is not None and len(budgets) and held_out not in budgets:
        listed = ", ".join(f"{budget:g}" for budget in budgets)
        raise UserError(
            f"analysis.held_out_budget {held_out:g} is the budget of no run; choose one of {listed}"
        )


def analyse(rows: Sequence[Row], settings: Settings) -> Results:
    """Analyses a sweep's rows, once for each way to count N and for each to count C."""
    present = [column for column in COUNTS if any(row.get(column) is not None for row in rows)]
    analyses = {
        column: analyse_column(rows, column, settings)
        for column in dict.fromkeys(["params", *present])
    }
    counts = [Count(column, *_exponents(analysis)) for column, analysis in analyses.items()]
    analysis = analyses["params"]
    refitted = refits(rows, analysis, lambda counted: analyse_column(counted, "params", settings))
    return Results(settings, analysis, tuple(counts), refitted)


def analyse_column(rows: Sequence[Row], column: str, settings: Settings) -> IsoflopAnalysis:
    """Analyses a sweep's rows with N from one column."""
    points = points_from_rows(rows, column, swept(rows))
    return analyse_isoflop(
        points,
        settings.held_out_budget,
        settings.predictor,
        settings.level,
        settings.draws,
        settings.seed,
    )


def _exponents(analysis: IsoflopAnalysis) -> list[Estimate | None]:
    frontiers = [analysis.frontier("approach 2"), analysis.frontier("approach 3")]
    return [None if frontier is None else frontier.exponent_params for frontier in frontiers]
