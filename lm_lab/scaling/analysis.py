"""Analyses an isoFLOP study: laws with intervals, refusals and a held-out prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from lm_lab.scaling import budgets, guards
from lm_lab.scaling.best import best_of_each
from lm_lab.scaling.bootstrap import band, estimate
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
    PowerLaw,
    Predictor,
    Refusal,
    Variant,
)
from lm_lab.scaling.summary import point_records, surface_record
from lm_lab.scaling.surface import (
    SurfaceFit,
    drawn_surface,
    log_loss,
    surface_cautions,
)
from lm_lab.scaling.units import UnitCheck, check_units
from lm_lab.scaling.valleys import Valleys, fit_valleys
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
    surfaces = study.fit_surfaces()
    valleys = study.fit_valleys()
    laws = study.fit_laws(surfaces.value, valleys.value)
    fits = _Fits(*surfaces.value, *valleys.value, laws.value)
    frontiers = study.frontiers(fits)
    comparisons = study.comparisons(fits, predictor)
    parts = (surfaces, valleys, laws, frontiers, comparisons)
    cautions = [*points.left_out, *cautions, *units.cautions]
    return IsoflopAnalysis(
        level=level,
        draws=resamples,
        seed=seed,
        points=point_records(cells, study.is_seen(cells), fits.surface),
        valleys=tuple(fit.valley for fit in fits.valleys.good()),
        params_law=fits.law("params"),
        tokens_law=fits.law("tokens"),
        loss_law=fits.law("loss"),
        surface=None if fits.surface is None else surface_record(fits.surface, fits.thetas, level),
        frontiers=tuple(frontiers.value),
        variants=tuple(study.variants(fits)),
        held_out=_chosen(comparisons.value, predictor),
        refusals=folded([refusal for part in parts for refusal in part.refusals]),
        cautions=folded([*cautions, *(caution for part in parts for caution in part.cautions)]),
        comparisons=tuple(comparisons.value),
        noise=fits.valleys.noise,
        skew=fits.valleys.skew,
    )


class _Part(NamedTuple, Generic[T]):
    """A part of the analysis, with its refusals and cautions."""

    value: T
    refusals: Sequence[Refusal] = ()
    cautions: Sequence[Caution] = ()


class _Fits(NamedTuple):
    """The fits to the cells seen: the surface with its resamples f64[R 5] (none without a surface),
    the valleys of the `typical` cells (those that their own valley does not reject), and the laws.
    """

    surface: SurfaceFit | None
    thetas: Array
    typical: Points
    valleys: Valleys
    laws: dict[Quantity, LawFit]

    def law(self, quantity: Quantity) -> PowerLaw | None:
        """The law through the valleys; None where it was refused."""
        return self.laws[quantity].law if quantity in self.laws else None


def _chosen(comparisons: Sequence[HeldOut], predictor: Predictor) -> HeldOut | None:
    losses = (comparison for comparison in comparisons if comparison.quantity == "loss")
    return next((comparison for comparison in losses if comparison.predictor == predictor), None)


def _parted(results: Sequence[T | Refusal]) -> tuple[list[T], list[Refusal]]:
    """(the results without refusals, the refusals)."""
    refusals = [result for result in results if isinstance(result, Refusal)]
    return [result for result in results if not isinstance(result, Refusal)], refusals


@dataclass(frozen=True)
class _Study:
    """The cells of one analysis, and how they are analysed."""

    cells: Points
    units: UnitCheck
    held_out_budget: float | None
    level: float
    resamples: int
    seed: int

    def rng(self, stream: int) -> np.random.Generator:
        """A random generator for each use, so that no result depends on which others were
        computed.
        """
        return np.random.default_rng([self.seed, stream])

    def is_seen(self, points: Points) -> Array:
        """Mask of the points that the fits may see: those below the held-out budget."""
        limit = np.inf if self.held_out_budget is None else self.held_out_budget
        return points.budget * (1 + budgets.TOLERANCE) < limit

    @cached_property
    def seen(self) -> Points:
        return self.cells.where(self.is_seen(self.cells))

    @cached_property
    def cost(self) -> MeasuredCost:
        return MeasuredCost.of(self.seen.params, self.seen.tokens, self.seen.flops)

    def fit_surfaces(self) -> _Part[tuple[SurfaceFit | None, Array]]:
        """The surface and its resamples."""
        drawn = drawn_surface(self.seen, self.resamples, self.seed)
        if isinstance(drawn, Refusal):
            return _Part((None, np.empty((0, 5))), [drawn])
        cautions = surface_cautions(*drawn, float(self.seen.loss.min()))
        cautions += outlier_cautions(self.seen, surface_outliers(drawn[0]), "surface")
        return _Part(drawn, (), cautions)

    def fit_valleys(self) -> _Part[tuple[Points, Valleys]]:
        """(the seen cells that their own valleys do not reject, the valleys)."""
        out = np.zeros(len(self.cells), bool)
        out[self.is_seen(self.cells)] = valley_outliers(self.seen)
        typical = self.cells.where(~out)
        seen = self.is_seen(typical)
        valleys = fit_valleys(typical, self.level, self.resamples, self.rng(1), seen)
        cautions = outlier_cautions(self.cells, out, "valley")
        cautions += valley_cautions(valleys, typical.where(seen))
        return _Part((typical, valleys), _parted(valleys.fits)[1], cautions)

    def fit_laws(
        self, surface_draws: tuple[SurfaceFit | None, Array], valley_fits: tuple[Points, Valleys]
    ) -> _Part[dict[Quantity, LawFit]]:
        """The laws through the valleys of the budgets seen; with few of them E is the surface's."""
        surface, thetas = surface_draws
        irreducible = None
        if surface is not None and guards.refuse_bound(surface) is None:
            irreducible = np.exp([surface.theta[0], *thetas[:, 0]])
        fitted = [fit for fit in valley_fits[1].good() if fit.valley.budget in self.seen.budget]
        good: dict[Quantity, LawFit] = {}
        refusals = []
        for quantity in QUANTITIES:
            law = fit_law(quantity, fitted, self.level, irreducible)
            if isinstance(law, Refusal):
                refusals.append(law)
            else:
                good[quantity] = law
        return _Part(good, refusals)

    def frontiers(self, fits: _Fits) -> _Part[list[Frontier]]:
        """The frontiers of approaches 2 and 3; none where a fit gives no sensible answer."""
        if not len(self.cells):
            return _Part([])
        if self.units.refusal is not None:
            return _Part([], [self.units.refusal])
        flops = np.geomspace(self.cells.flops.min() / 2, self.cells.flops.max() * 4, 41)
        laws, cautions = fits.laws, []
        answers: list[Frontier | Refusal] = []
        if "params" in laws and "tokens" in laws:
            loss = laws.get("loss")
            answers.append(frontier(laws["params"], laws["tokens"], loss, flops, self.level))
        if fits.surface is not None:
            of_surface, cautions = self._surface_frontier(fits.surface, fits.thetas, flops)
            answers.append(of_surface)
        checked = [
            answer if isinstance(answer, Refusal) else guards.refuse_exponents(answer) or answer
            for answer in answers
        ]
        return _Part(*_parted(checked), cautions)

    def _surface_frontier(
        self, surface: SurfaceFit, thetas: Array, flops: Array
    ) -> tuple[Frontier | Refusal, list[Caution]]:
        every = np.concatenate([surface.theta[None], thetas])
        ends = np.array([self.seen.flops.min(), self.seen.flops.max()])
        at_ends = optimal_params(every, ends, self.cost)
        params = optimal_params(every, flops, self.cost)
        if np.isnan([*at_ends[0], *params[0]]).any():
            message = "at fixed compute the fitted surface falls without end"
            return Refusal("no optimum", "approach 3", message), []
        refusal = guards.refuse_bound(surface) or guards.refuse_far(self.seen, at_ends[0])
        if refusal is not None:
            return refusal, []
        tokens = flops / self.cost(params)
        loss = np.exp(log_loss(every, np.log(params), np.log(tokens)))
        slopes = [exponent_over(ends, values) for values in (at_ends, ends / self.cost(at_ends))]
        a, b = (estimate(slope[0], slope[1:], self.level) for slope in slopes)
        bands = [
            band(flops, values[0], values[1:], self.level) for values in (params, tokens, loss)
        ]
        return Frontier("approach 3", a, b, *bands), self._cautions_of_optimum(at_ends[0])

    def _cautions_of_optimum(self, at_ends: Array) -> list[Caution]:
        low, high = self.seen.params.min(), self.seen.params.max()
        if low <= at_ends.min() and at_ends.max() <= high:
            return []
        message = (
            f"N* is {at_ends[0]:.3g} to {at_ends[1]:.3g} over the budgets, the sizes {low:.3g} "
            f"to {high:.3g}"
        )
        return [Caution("optimum outside the data", "approach 3", message)]

    def variants(self, fits: _Fits) -> list[Variant]:
        """The answers of approaches 2 and 3 under other choices of the analysis."""
        variants = valley_variants(self.seen, fits.typical.where(self.is_seen(fits.typical)))
        if fits.surface is not None:
            variants += surface_variants(self.seen, fits.surface, self.cost)
        return variants

    def comparisons(self, fits: _Fits, predictor: Predictor) -> _Part[list[HeldOut]]:
        """Every law beside the held-out budget, with a caution for each that misses it."""
        budget, where = self.held_out_budget, "held-out prediction"
        if budget is None:
            return _Part([])
        held_out = self.cells.where(budgets.is_same(self.cells.budget, budget))
        if not len(held_out):
            message = f"no run has budget {budget:.3g}"
            return _Part([], [Refusal("held-out budget not in the data", where, message)])
        cost = None if fits.surface is None else self.cost
        evidence = Evidence(held_out, fits.surface, fits.thetas, cost, fits.laws, fits.valleys)
        comparisons = compare_all(evidence, budget, self.level, self.rng(2))
        refusals = []
        if _chosen(comparisons, predictor) is None:
            message = f"the {predictor} could not be fitted; see its own refusal"
            refusals.append(Refusal("predictor refused", where, message))
        return _Part(comparisons, refusals, missed(comparisons, self.level))
