"""Analyses an isoFLOP study: laws with intervals, refusals and a held-out prediction."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np

from lm_lab.scaling import budgets, guards
from lm_lab.scaling.best import best_of_each
from lm_lab.scaling.bootstrap import band, estimate, resample
from lm_lab.scaling.doubts import outlier_cautions, valley_cautions
from lm_lab.scaling.folding import folded
from lm_lab.scaling.held_out import Evidence, compare_all, missed
from lm_lab.scaling.laws import LawFit, Quantity, fit_law, frontier
from lm_lab.scaling.optimum import MeasuredCost, exponent_over, optimal_params
from lm_lab.scaling.outliers import surface_outliers, valley_outliers
from lm_lab.scaling.points import Points
from lm_lab.scaling.records import (
    Caution,
    Frontier,
    HeldOut,
    IsoflopAnalysis,
    Predictor,
    Refusal,
    Variant,
)
from lm_lab.scaling.summary import point_records, surface_record
from lm_lab.scaling.surface import (
    SurfaceFit,
    fit_surface,
    log_loss,
    resample_surfaces,
    surface_cautions,
)
from lm_lab.scaling.units import UnitCheck, check_units
from lm_lab.scaling.valleys import ValleyFit, Valleys, fit_valleys
from lm_lab.scaling.variants import surface_variants, valley_variants

Array = np.ndarray
T = TypeVar("T")
QUANTITIES: tuple[Quantity, ...] = ("params", "tokens", "loss")


def analyse_isoflop(
    points: Points,
    held_out_budget: float | None = None,
    predictor: Predictor = "surface",
    level: float = 0.9,
    resamples: int = 1000,
    seed: int = 0,
) -> IsoflopAnalysis:
    """Fits scaling laws to the best run of each (N, D), with intervals at `level`.

    Approach 2 draws its intervals from the noise pooled over budgets, approach 3 from bootstrap
    resamples of the cells. No fit sees the budget `held_out_budget` or a larger one, and every law
    is compared with it; choose it and `predictor` before the runs are seen. Poor data give refusals
    and cautions in the result, never an exception.
    """
    cells, cautions = best_of_each(points)
    units = check_units(cells)
    cells = cells.where(~units.odd)
    study = _Study(cells, units, held_out_budget, level, resamples, seed)
    study.cautions += [*points.left_out, *cautions, *units.cautions]
    surface, valleys, laws = study.surface, study.valleys, study.laws
    frontiers = study.frontiers()
    comparisons = study.comparisons(predictor)
    chosen = (each for each in comparisons if each.quantity == "loss")
    return IsoflopAnalysis(
        level=level,
        draws=resamples,
        seed=seed,
        points=point_records(cells, study.is_seen(cells), surface),
        valleys=tuple(fit.valley for fit in valleys.good()),
        params_law=laws["params"].law if "params" in laws else None,
        tokens_law=laws["tokens"].law if "tokens" in laws else None,
        loss_law=laws["loss"].law if "loss" in laws else None,
        surface=None if surface is None else surface_record(surface, study.thetas, level),
        frontiers=tuple(frontiers),
        variants=tuple(study.variants()),
        held_out=next((each for each in chosen if each.predictor == predictor), None),
        refusals=folded(study.refusals),
        cautions=folded(study.cautions),
        comparisons=tuple(comparisons),
        noise=valleys.noise,
        skew=valleys.skew,
    )


@dataclass
class _Study:
    """The cells of one analysis, its fits, and the refusals and cautions collected so far."""

    cells: Points
    units: UnitCheck
    held_out_budget: float | None
    level: float
    resamples: int
    seed: int
    refusals: list[Refusal] = field(default_factory=list)
    cautions: list[Caution] = field(default_factory=list)

    def rng(self, stream: int) -> np.random.Generator:
        """A generator of its own for each use, so that none depends on whether another ran."""
        return np.random.default_rng([self.seed, stream])

    def is_seen(self, points: Points) -> Array:
        """Which points the fits may see: those below the held-out budget."""
        limit = np.inf if self.held_out_budget is None else self.held_out_budget
        return points.budget * (1 + budgets.TOLERANCE) < limit

    def kept(self, results: list[T | Refusal]) -> list[T]:
        """The results that are not refusals; refusals are added to the study's."""
        self.refusals += [result for result in results if isinstance(result, Refusal)]
        return [result for result in results if not isinstance(result, Refusal)]

    @cached_property
    def seen(self) -> Points:
        return self.cells.where(self.is_seen(self.cells))

    @cached_property
    def surface(self) -> SurfaceFit | None:
        fits = self.kept([fit_surface(self.seen)])
        return fits[0] if fits else None

    @cached_property
    def thetas(self) -> Array:
        """The surface's resamples f64[R 5]; none without a surface."""
        fit, seen = self.surface, self.seen
        if fit is None:
            return np.empty((0, 5))
        drawn = resample(seen.budget, self.resamples, self.rng(0))
        thetas = resample_surfaces(seen, drawn, fit)
        self.cautions += surface_cautions(fit, thetas, float(seen.loss.min()))
        self.cautions += outlier_cautions(seen, surface_outliers(fit), "surface")
        return thetas

    @cached_property
    def typical(self) -> Points:
        """The cells without those that their own valleys reject, of those seen."""
        out = np.zeros(len(self.cells), bool)
        out[self.is_seen(self.cells)] = valley_outliers(self.seen)
        self.cautions += outlier_cautions(self.cells, out, "valley")
        return self.cells.where(~out)

    @cached_property
    def valleys(self) -> Valleys:
        typical = self.typical
        seen = self.is_seen(typical)
        found = fit_valleys(typical, self.level, self.resamples, self.rng(1), seen)
        self.kept(list(found.fits))
        self.cautions += valley_cautions(found, typical.where(seen))
        return found

    @property
    def fitted(self) -> list[ValleyFit]:
        """The valleys that laws may see."""
        return [fit for fit in self.valleys.good() if fit.valley.budget in self.seen.budget]

    @cached_property
    def laws(self) -> dict[Quantity, LawFit]:
        irreducible = None
        if self.surface is not None and guards.refuse_bound(self.surface) is None:
            irreducible = np.exp([self.surface.theta[0], *self.thetas[:, 0]])
        found: dict[Quantity, LawFit] = {}
        for quantity in QUANTITIES:
            for fit in self.kept([fit_law(quantity, self.fitted, self.level, irreducible)]):
                found[quantity] = fit
        return found

    @cached_property
    def cost(self) -> MeasuredCost:
        return MeasuredCost.of(self.seen.params, self.seen.tokens, self.seen.flops)

    def frontiers(self) -> list[Frontier]:
        """Approach 2's and approach 3's, where an answer follows from the fit."""
        if not len(self.cells):
            return []
        if self.units.refusal is not None:
            self.refusals.append(self.units.refusal)
            return []
        flops = np.geomspace(self.cells.flops.min() / 2, self.cells.flops.max() * 4, 41)
        laws, found = self.laws, []
        if "params" in laws and "tokens" in laws:
            loss = laws.get("loss")
            found = [frontier(laws["params"], laws["tokens"], loss, flops, self.level)]
        if self.surface is not None:
            found += self.kept([self._surface_frontier(self.surface, flops)])
        return self.kept([guards.refuse_exponents(each) or each for each in found])

    def _surface_frontier(self, surface: SurfaceFit, flops: Array) -> Frontier | Refusal:
        every = np.concatenate([surface.theta[None], self.thetas])
        ends = np.array([self.seen.flops.min(), self.seen.flops.max()])
        at_ends = optimal_params(every, ends, self.cost)
        params = optimal_params(every, flops, self.cost)
        if np.isnan([*at_ends[0], *params[0]]).any():
            message = "at fixed compute the fitted surface falls without end"
            return Refusal("no optimum", "approach 3", message)
        refusal = guards.refuse_bound(surface) or guards.refuse_far(self.seen, at_ends[0])
        if refusal is not None:
            return refusal
        self._caution_of_optimum(at_ends[0])
        tokens = flops / self.cost(params)
        loss = np.exp(log_loss(every, np.log(params), np.log(tokens)))
        slopes = [exponent_over(ends, values) for values in (at_ends, ends / self.cost(at_ends))]
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

    def variants(self) -> list[Variant]:
        """Approach 2's and approach 3's answers under other choices."""
        found = valley_variants(self.seen, self.typical.where(self.is_seen(self.typical)))
        if self.surface is not None:
            found += surface_variants(self.seen, self.surface, self.cost)
        return found

    def comparisons(self, predictor: Predictor) -> list[HeldOut]:
        """Every law beside the held-out budget, with a caution for each that misses it."""
        budget, where = self.held_out_budget, "held-out prediction"
        if budget is None:
            return []
        held = self.cells.where(budgets.is_same(self.cells.budget, budget))
        if not len(held):
            message = f"no run has budget {budget:.3g}"
            self.refusals.append(Refusal("held-out budget not in the data", where, message))
            return []
        cost = None if self.surface is None else self.cost
        evidence = Evidence(held, self.surface, self.thetas, cost, self.laws, self.valleys)
        found = compare_all(evidence, budget, self.level, self.rng(2))
        if not any((each.predictor, each.quantity) == (predictor, "loss") for each in found):
            message = f"the {predictor} could not be fitted; see its own refusal"
            self.refusals.append(Refusal("predictor refused", where, message))
        self.cautions += missed(found, self.level)
        return found
