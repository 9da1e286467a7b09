"""The prediction of the held-out budget, made before any run of that budget has a loss."""

from collections.abc import Sequence

from lm_lab.report.analyses.isoflop.results import Settings, analyse_column
from lm_lab.report.contract import Forecaster
from lm_lab.report.stored import Row
from lm_lab.runs.forecasts import Forecast
from lm_lab.runs.sweep import swept
from lm_lab.scaling.best import best_of_each
from lm_lab.scaling.points import points_from_rows
from lm_lab.scaling.records import IsoflopAnalysis

SIZES = ("params", "tokens", "flops")
LOSSES = ("loss", "selection_loss")


def held_out(settings: Settings, row: Row) -> bool:
    """Whether no fit sees the run: its budget is the held-out one, or larger."""
    budget, limit = row.get("budget_flops"), settings.held_out_budget
    return limit is not None and budget is not None and float(budget) >= limit * (1 - 1e-6)


def forecast(fitted: Sequence[Row], held: Sequence[Row], settings: Settings) -> Forecast:
    """The lowest loss at the held-out budget, by the predictor that the settings name."""
    assert settings.held_out_budget is not None
    target = f"lowest loss at {settings.held_out_budget:g} FLOPs"
    losses = [float(row["loss"]) for row in fitted if row.get("loss") is not None]
    sized = [row for row in held if all(row.get(key) is not None for key in SIZES)]
    if not losses or not sized:
        reason = "no fitted run has a loss" if not losses else "the held-out runs cannot be counted"
        return _refused(target, settings, reason)
    # The analysis needs points with a loss. No fit sees these, and the prediction does not depend
    # on them: a constant stands in for losses that are not known yet.
    stand_in = dict.fromkeys(LOSSES, min(losses)) | {"status": "complete"}
    stand_ins = [row | {key: stand_in[key] for key in stand_in if key in row} for row in sized]
    analysis = analyse_column([*fitted, *stand_ins], "params", settings)
    if analysis.held_out is None:
        where = "held-out prediction"
        reasons = [refusal.message for refusal in analysis.refusals if refusal.where == where]
        return _refused(target, settings, "; ".join(reasons) or "the analysis refused")
    predicted = analysis.held_out.predicted
    return Forecast(
        target=target,
        predictor=settings.predictor,
        law=_law(analysis, settings),
        predicted=predicted.value,
        low=predicted.low,
        high=predicted.high,
        level=settings.level,
    )


def observe(rows: Sequence[Row], settings: Settings) -> float | None:
    """The lowest loss at the held-out budget: a mean over seeds, at the best rate of its size."""
    limit = settings.held_out_budget
    ended = [row for row in rows if row.get("status") in ("complete", "diverged")]
    if limit is None or not ended:
        return None
    cells, _ = best_of_each(points_from_rows(ended, "params", swept(ended)))
    at_limit = cells.where(abs(cells.budget / limit - 1) < 1e-6)
    return float(at_limit.loss.min()) if len(at_limit) else None


def _refused(target: str, settings: Settings, why: str) -> Forecast:
    return Forecast(target=target, predictor=settings.predictor, level=settings.level, refusal=why)


def _law(analysis: IsoflopAnalysis, settings: Settings) -> dict[str, float]:
    """The parameters of the law that predicts, by name."""
    surface, law = analysis.surface, analysis.loss_law
    if settings.predictor == "surface" and surface is not None:
        fitted = {
            "E": surface.E,
            "A": surface.A,
            "alpha": surface.alpha,
            "B": surface.B,
            "beta": surface.beta,
        }
        return {name: estimate.value for name, estimate in fitted.items()}
    if law is None:
        return {}
    return {"offset": law.offset, "coefficient": law.coefficient, "exponent": law.exponent.value}


FORECASTER = Forecaster(held_out, forecast, observe)
