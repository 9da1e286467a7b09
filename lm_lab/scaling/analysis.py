"""Analyses an isoFLOP study: laws with intervals, refusals and a held-out prediction."""

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from lm_lab.scaling import budgets
from lm_lab.scaling import held_out as holding_out
from lm_lab.scaling.best import best_of_each
from lm_lab.scaling.bootstrap import band, estimate, resample
from lm_lab.scaling.laws import LawFit, fit_law, frontier
from lm_lab.scaling.optimum import MeasuredCost, exponent_over, optimal_params
from lm_lab.scaling.points import Points
from lm_lab.scaling.records import (
    Caution,
    Estimate,
    Frontier,
    HeldOut,
    IsoflopAnalysis,
    Point,
    Predictor,
    Refusal,
    Surface,
)
from lm_lab.scaling.surface import (
    SurfaceFit,
    fit_surface,
    log_loss,
    resample_surfaces,
    surface_cautions,
)
from lm_lab.scaling.valleys import ValleyFit
from lm_lab.scaling.variants import fit_valleys, surface_variants, valley_variants

Array = np.ndarray
T = TypeVar("T")


def analyse_isoflop(
    points: Points,
    held_out_budget: float | None = None,
    predictor: Predictor = "surface",
    level: float = 0.9,
    resamples: int = 1000,
    seed: int = 0,
) -> IsoflopAnalysis:
    """Fits scaling laws to the best run of each (N, D), with bootstrap intervals over these cells.

    The intervals are percentile intervals at `level`. No fit sees the budget `held_out_budget` or a
    larger one; choose it and `predictor` before the runs are seen. Poor data give refusals and
    cautions in the result, never an exception.
    """
    cells, cautions = best_of_each(points)
    study = _Study(cells, held_out_budget, level, resamples, np.random.default_rng(seed))
    study.cautions += [*points.left_out, *cautions]
    surface, thetas = study.fit_surface()
    typical = study.without_outliers(surface)
    valleys = study.fit_valleys(typical)
    laws = study.fit_laws(valleys)
    cost = (
        None
        if surface is None
        else MeasuredCost.of(study.seen.params, study.seen.tokens, study.seen.flops)
    )
    frontiers = study.frontiers(laws, thetas, surface, cost)
    variants = valley_variants(study.seen, typical.where(study.is_seen(typical)))
    if surface is not None and cost is not None:
        variants += surface_variants(study.seen, surface, cost)
    prediction = study.hold_out(predictor, surface, thetas, laws, valleys)
    return IsoflopAnalysis(
        level=level,
        draws=resamples,
        seed=seed,
        points=study.points(surface),
        valleys=tuple(fit.valley for fit in valleys),
        params_law=laws["params"].law if "params" in laws else None,
        tokens_law=laws["tokens"].law if "tokens" in laws else None,
        loss_law=laws["loss"].law if "loss" in laws else None,
        surface=None if surface is None else study.surface(surface, thetas),
        frontiers=tuple(frontiers),
        variants=tuple(variants),
        held_out=prediction,
        refusals=tuple(study.refusals),
        cautions=tuple(study.cautions),
    )


@dataclass
class _Study:
    """The cells of one analysis, and the refusals and cautions collected so far."""

    cells: Points
    held_out_budget: float | None
    level: float
    resamples: int
    rng: np.random.Generator
    refusals: list[Refusal] = field(default_factory=list)
    cautions: list[Caution] = field(default_factory=list)

    def is_seen(self, points: Points) -> Array:
        """Which points the fits may see: those below the held-out budget."""
        limit = np.inf if self.held_out_budget is None else self.held_out_budget
        return points.budget * (1 + budgets.TOLERANCE) < limit

    @property
    def seen(self) -> Points:
        return self.cells.where(self.is_seen(self.cells))

    def kept(self, results: list[T | Refusal]) -> list[T]:
        """The results that are not refusals; refusals are added to the study's."""
        self.refusals += [result for result in results if isinstance(result, Refusal)]
        return [result for result in results if not isinstance(result, Refusal)]

    def fit_surface(self) -> tuple[SurfaceFit | None, Array]:
        seen = self.seen
        fits = self.kept([fit_surface(seen)])
        if not fits:
            return None, np.empty((0, 5))
        thetas = resample_surfaces(seen, resample(seen.budget, self.resamples, self.rng), fits[0])
        self.cautions += surface_cautions(fits[0], thetas, float(seen.loss.min()))
        return fits[0], thetas

    def without_outliers(self, surface: SurfaceFit | None) -> Points:
        """The cells without those far off the surface.

        Least squares on a parabola is sensitive to outliers, while the surface's Huber loss is not.
        """
        if surface is None:
            return self.cells
        far = np.zeros(len(self.cells), bool)
        far[self.is_seen(self.cells)] = surface.outliers()
        for i in np.flatnonzero(far):
            where = f"{self.cells.params[i]:.3g} parameters at {self.cells.budget[i]:.3g} FLOPs"
            message = (
                f"its loss {self.cells.loss[i]:.4g} is far off the surface: left out of its valley "
                "(approach 2)"
            )
            self.cautions.append(Caution("outlier", where, message))
        return self.cells.where(~far)

    def fit_valleys(self, points: Points) -> list[ValleyFit]:
        fits = self.kept(fit_valleys(points, self.level, self.resamples, self.rng))
        for fit in fits:
            where = f"budget {fit.valley.budget:.3g}"
            if fit.resampled is None:
                message = (
                    "three sizes leave no residual: no interval here, nor for what follows from it"
                )
                self.cautions.append(Caution("no residual", where, message))
            elif (share := np.isnan(fit.resampled).any(-1).mean()) > 0.05:
                message = (
                    f"{share:.0%} of the resamples have no vertex in the data: the interval is "
                    "that of the others"
                )
                self.cautions.append(Caution("unresolved valley", where, message))
        return fits

    def fit_laws(self, valleys: list[ValleyFit]) -> dict[str, LawFit]:
        seen = [fit for fit in valleys if fit.valley.budget in self.seen.budget]
        fits = {
            quantity: fit_law(quantity, seen, self.level)
            for quantity in ("params", "tokens", "loss")
        }
        self.kept(list(fits.values()))
        return {quantity: fit for quantity, fit in fits.items() if isinstance(fit, LawFit)}

    def frontiers(
        self,
        laws: dict[str, LawFit],
        thetas: Array,
        surface: SurfaceFit | None,
        cost: MeasuredCost | None,
    ) -> list[Frontier]:
        if not len(self.cells):
            return []
        flops = np.geomspace(self.cells.flops.min() / 2, self.cells.flops.max() * 4, 41)
        found = (
            [frontier(laws["params"], laws["tokens"], laws["loss"], flops, self.level)]
            if len(laws) == 3
            else []
        )
        if surface is not None and cost is not None:
            found += self.kept([self._surface_frontier(surface, thetas, cost, flops)])
        return found

    def _surface_frontier(
        self, surface: SurfaceFit, thetas: Array, cost: MeasuredCost, flops: Array
    ) -> Frontier | Refusal:
        every = np.concatenate([surface.theta[None], thetas])
        ends = np.array([self.seen.flops.min(), self.seen.flops.max()])
        at_ends, params = optimal_params(every, ends, cost), optimal_params(every, flops, cost)
        if np.isnan([*at_ends[0], *params[0]]).any():
            return Refusal(
                "no optimum", "approach 3", "at fixed compute the fitted surface falls without end"
            )
        self._caution_of_optimum(at_ends[0])
        tokens = flops / cost(params)
        loss = np.exp(log_loss(every, np.log(params), np.log(tokens)))
        slopes = [exponent_over(ends, values) for values in (at_ends, ends / cost(at_ends))]
        exponents = [estimate(slope[0], slope[1:], self.level) for slope in slopes]
        bands = [
            band(flops, values[0], values[1:], self.level) for values in (params, tokens, loss)
        ]
        return Frontier("approach 3", exponents[0], exponents[1], bands[0], bands[1], bands[2])

    def _caution_of_optimum(self, at_ends: Array) -> None:
        low, high = self.seen.params.min(), self.seen.params.max()
        if at_ends.min() < low or at_ends.max() > high:
            message = (
                f"N* is {at_ends[0]:.3g} to {at_ends[1]:.3g} over the budgets, the sizes {low:.3g} "
                f"to {high:.3g}"
            )
            self.cautions.append(Caution("optimum outside the data", "approach 3", message))

    def hold_out(
        self,
        predictor: Predictor,
        surface: SurfaceFit | None,
        thetas: Array,
        laws: dict[str, LawFit],
        valleys: list[ValleyFit],
    ) -> HeldOut | None:
        budget = self.held_out_budget
        if budget is None:
            return None
        held = self.cells.where(budgets.is_same(self.cells.budget, budget))
        predicted = self._predict(predictor, held, surface, thetas, laws, valleys)
        if isinstance(predicted, Refusal):
            self.refusals.append(predicted)
            return None
        return holding_out.compare(held, budget, predictor, predicted)

    def _predict(
        self,
        predictor: Predictor,
        held: Points,
        surface: SurfaceFit | None,
        thetas: Array,
        laws: dict[str, LawFit],
        valleys: list[ValleyFit],
    ) -> Estimate | Refusal:
        where = "held-out prediction"
        if not len(held):
            return Refusal(
                "held-out budget not in the data",
                where,
                f"no run has budget {self.held_out_budget:.3g}",
            )
        if predictor == "surface" and surface is not None:
            return holding_out.predict_loss(
                surface, thetas, held.params, held.tokens, self.level, self.rng
            )
        if predictor == "valley power law" and "loss" in laws:
            flops = float(held.flops[np.argmin(held.loss)])
            seen = [fit for fit in valleys if fit.valley.budget in self.seen.budget]
            return holding_out.predict_from_law(laws["loss"], seen, flops, self.level, self.rng)
        return Refusal(
            "predictor refused", where, f"the {predictor} could not be fitted; see its own refusal"
        )

    def surface(self, fit: SurfaceFit, thetas: Array) -> Surface:
        every = np.concatenate([fit.theta[None], thetas])
        log_e, log_a, alphas, log_b, betas = every.T
        share = betas / np.maximum(alphas + betas, 1e-300)
        columns = [np.exp(log_e), np.exp(log_a), np.exp(log_b), alphas, betas, share, 1 - share]
        E, A, B, alpha, beta, a, b = (
            estimate(column[0], column[1:], self.level) for column in columns
        )
        return Surface(
            E,
            A,
            B,
            alpha,
            beta,
            a,
            b,
            len(fit.residuals),
            fit.objective,
            fit.noise(),
            fit.condition,
        )

    def points(self, surface: SurfaceFit | None) -> tuple[Point, ...]:
        cells = self.cells
        predicted = [None] * len(cells)
        if surface is not None:
            predicted = np.exp(
                log_loss(surface.theta, np.log(cells.params), np.log(cells.tokens))
            ).tolist()
        seen, rates = (
            self.is_seen(cells),
            [None if np.isnan(rate) else float(rate) for rate in cells.rate],
        )
        return tuple(
            Point(
                params=float(cells.params[i]),
                tokens=float(cells.tokens[i]),
                flops=float(cells.flops[i]),
                budget=float(cells.budget[i]),
                loss=float(cells.loss[i]),
                rate=rates[i],
                seeds=int(cells.runs[i]),
                held_out=not seen[i],
                predicted=predicted[i],
                residual=None
                if predicted[i] is None
                else float(np.log(cells.loss[i] / predicted[i])),
            )
            for i in range(len(cells))
        )
