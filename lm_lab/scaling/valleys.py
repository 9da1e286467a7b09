"""Approach 2 (2203.15556): a parabola of loss in log N at each budget, with vertex N*, D*, L*.

All budgets are fitted together, because they share two numbers that five sizes of one budget cannot
tell: the noise of a run, as a share of its loss, and the skew by which a valley leans to a side. On
a surface with alpha != beta a plain parabola has a biased vertex (2603.22339); the skew takes the
bias out. It is held near 0 by a normal prior of s.d. SKEW, because |beta - alpha| of published
surfaces is .1 or less; a table that tells more overrules the prior.

The intervals are draws from the posterior under flat priors of the coefficients and 1 / variance of
the noise: the noise's chi-square scale, then the skew, then the coefficients given both. D* is not
read off the two runs next to the vertex: log(C / (N D)), which hardly varies, is fitted over the
budget's sizes, and D* is C / (N* times that ratio at N*).
"""

from dataclasses import dataclass

import numpy as np

from lm_lab.scaling.bootstrap import estimate
from lm_lab.scaling.noise import seed_squares
from lm_lab.scaling.points import Points
from lm_lab.scaling.records import Estimate, Noise, Refusal, Valley
from lm_lab.scaling.shapes import lowest_point, skewed_square
from lm_lab.scaling.windows import WINDOW, window

Array = np.ndarray
SKEW = 0.15
BEYOND = np.log(10.0)  # a drawn vertex is cut off this far in log N beyond the budget's sizes


@dataclass(frozen=True)
class ValleyFit:
    """A valley and the draws of it."""

    valley: Valley
    vertex: Array  # f64[4]: log N*, log D*, log C, log L*
    drawn: Array | None  # f64[R 4], the vertex of each draw; None if nothing shows the noise
    curvature: Array  # f64[1 + R]: d2 loss / d(log N)2 at the vertex, of the fit and of each draw
    unresolved: float  # share of the draws whose vertex lies more than x10 beyond the sizes


@dataclass(frozen=True)
class Valleys:
    """The valleys of all budgets, smallest first, refusals among them, and the skew and noise that
    they share.
    """

    fits: tuple[ValleyFit | Refusal, ...]
    noise: Noise | None
    skew: Estimate | None
    skews: Array  # f64[1 + R], of the fit and of each draw

    def good(self) -> list[ValleyFit]:
        """The valleys that were not refused."""
        return [fit for fit in self.fits if isinstance(fit, ValleyFit)]


def fit_valleys(
    points: Points,
    level: float = 0.9,
    resamples: int = 0,
    rng: np.random.Generator | None = None,
    seen: Array | None = None,
    factor: float = WINDOW,
    skewed: bool = True,
) -> Valleys:
    """Fits the valley of each budget; `seen` [n] marks the points that noise and skew may see.

    `factor` is the window, `skewed` False fits plain parabolas. Refuses a budget of fewer than
    three sizes, with a valley that opens downwards, or with its vertex outside the sizes run.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    seen = np.ones(len(points), bool) if seen is None else seen
    by_budget = {budget: points.where(points.budget == budget) for budget in points.budgets()}
    seen_budgets = {budget for budget in by_budget if seen[points.budget == budget].all()}
    cuts = {flops: _Cut.of(group, factor) for flops, group in by_budget.items() if len(group) >= 3}
    shared = _Shared.of(
        [cut for flops, cut in cuts.items() if flops in seen_budgets], resamples, rng, skewed
    )
    fits = [
        _fit(cuts[budget], shared, level, rng) if budget in cuts else _too_few(group)
        for budget, group in by_budget.items()
    ]
    skew = (
        estimate(shared.skews[0], shared.skews[1:] if shared.noise and resamples else None, level)
        if skewed and shared.noise
        else None
    )
    return Valleys(tuple(fits), shared.noise, skew, shared.skews)


@dataclass(frozen=True)
class _Cut:
    """One budget's sizes within the window: x = log(N / centre), y = loss / lowest loss."""

    points: Points  # all of the budget, in order of size
    inside: Points
    factor: float
    centre: float
    x: Array
    y: Array
    weight: Array  # seeds a cell
    unit: float

    @classmethod
    def of(cls, points: Points, factor: float) -> "_Cut":
        points = points.where(np.argsort(points.params, kind="stable"))
        index, used = window(points, factor)
        inside = points.where(index)
        logs, unit = np.log(inside.params), float(inside.loss.min())
        centre = float(logs.mean())
        return cls(
            points, inside, used, centre, logs - centre, inside.loss / unit, inside.runs, unit
        )

    def solve(self, skews: Array) -> tuple[Array, Array, Array]:
        """Least squares at each skew [S]: coefficients [S 3], X'WX [S 3 3], residuals [S n]."""
        shape = skewed_square(self.x, skews[:, None])
        basis = np.stack(np.broadcast_arrays(np.ones_like(self.x), self.x, shape), -1)
        weighted = basis * self.weight[:, None]
        normal = np.einsum("sni,snj->sij", weighted, basis)
        moments = np.einsum("sni,n->si", weighted, self.y)
        curves = np.linalg.solve(normal, moments[..., None])[..., 0]
        return curves, normal, self.y - np.einsum("sni,si->sn", basis, curves)


@dataclass(frozen=True)
class _Shared:
    """The noise and the skew that all budgets share, of the fit and of each draw."""

    noise: Noise | None
    skews: Array  # f64[1 + R]
    deviations: Array | None  # f64[R], None if nothing shows the noise

    @classmethod
    def of(
        cls, cuts: list[_Cut], resamples: int, rng: np.random.Generator, skewed: bool
    ) -> "_Shared":
        within, of_seeds = [seed_squares(cut.inside) for cut in cuts], 0
        squares, of_seeds = sum(s for s, _ in within), sum(f for _, f in within)
        freedom = sum(len(cut.x) - 3 for cut in cuts) + of_seeds
        if not cuts or freedom < 1:
            return cls(None, np.zeros(1 + resamples), None)
        grid, chance, left = (
            _posterior(cuts, squares, freedom)
            if skewed
            else (np.zeros(1), np.ones(1), squares + _left_over(cuts, np.zeros(1))[0])
        )
        mean = float(chance @ grid)
        nearest = left[np.argmin(np.abs(grid - mean))]
        noise = Noise(float(np.sqrt(nearest / freedom)), int(freedom), int(of_seeds))
        chosen = rng.choice(len(grid), resamples, p=chance)
        deviations = np.sqrt(left[chosen] / rng.chisquare(freedom, resamples))
        return cls(noise, np.concatenate([[mean], grid[chosen]]), deviations)


def studentised(points: Points, factor: float = WINDOW) -> tuple[Array, int]:
    """|Residuals| [n] of the points about their valleys, each left out in turn, and the freedom.

    In units of the noise, pooled over the budgets, that remains without the point; 0 for a point
    outside its window or in a budget of three sizes or fewer.
    """
    size = np.zeros(len(points))
    members = {b: np.flatnonzero(points.budget == b) for b in points.budgets()}
    members = {b: index for b, index in members.items() if len(index) > 3}
    cuts = {b: _Cut.of(points.where(index), factor) for b, index in members.items()}
    shared = _Shared.of(list(cuts.values()), 0, np.random.default_rng(0), skewed=True)
    if shared.noise is None or shared.noise.freedom < 2:
        return size, 0
    freedom, squares = shared.noise.freedom, shared.noise.freedom * shared.noise.deviation**2
    for b, cut in cuts.items():
        basis = np.stack([np.ones_like(cut.x), cut.x, skewed_square(cut.x, shared.skews[0])], -1)
        root = np.sqrt(cut.weight)
        orthogonal, _ = np.linalg.qr(basis * root[:, None])
        left = np.maximum(1 - np.sum(orthogonal**2, -1), 1e-9)
        residual = root * cut.solve(shared.skews[:1])[2][0]
        others = np.maximum(squares - residual**2 / left, 1e-24) / (freedom - 1)
        order = members[b][np.argsort(points.params[members[b]], kind="stable")]
        size[order[window(points.where(order), factor)[0]]] = np.abs(residual) / np.sqrt(
            others * left
        )
    return size, freedom


def _left_over(cuts: list[_Cut], skews: Array) -> tuple[Array, Array]:
    """Weighted squares of the residuals [S], and the log determinants of X'WX [S]."""
    solved = [cut.solve(skews) for cut in cuts]
    squares = sum(np.sum(c.weight * r**2, -1) for c, (_, _, r) in zip(cuts, solved))
    return np.asarray(squares), np.asarray(sum(np.linalg.slogdet(n)[1] for _, n, _ in solved))


def _posterior(cuts: list[_Cut], squares: float, freedom: int) -> tuple[Array, Array, Array]:
    """A grid of skews, the probability of each, and the squares left at each (all [S]).

    The grid is refined around the probable skews, so that exact tables give exact answers.
    """
    low, high = -1.5, 1.5
    rounding = 1e-22 * sum(len(cut.x) for cut in cuts)
    while True:
        grid = np.linspace(low, high, 81)
        left, log_det = _left_over(cuts, grid)
        left = left + squares + rounding
        log_chance = -freedom / 2 * np.log(left) - log_det / 2 - (grid / SKEW) ** 2 / 2
        chance = np.exp(log_chance - log_chance.max())
        chance /= chance.sum()
        likely = np.flatnonzero(chance > 1e-6 * chance.max())
        first, last = max(likely[0] - 1, 0), min(likely[-1] + 1, len(grid) - 1)
        if last - first > 40 or high - low < 1e-9:
            return grid, chance, left
        low, high = grid[first], grid[last]


def _fit(cut: _Cut, shared: _Shared, level: float, rng: np.random.Generator) -> ValleyFit | Refusal:
    curves, _, residuals = cut.solve(shared.skews[:1])
    refusal = _no_vertex(cut, curves[0], shared.skews[0])
    if refusal:
        return refusal
    drawn, unresolved, all_curves = None, 0.0, curves
    if shared.deviations is not None and len(shared.deviations):
        means, normals, _ = cut.solve(shared.skews[1:])
        spread = np.linalg.cholesky(np.linalg.inv(normals))
        steps = np.einsum("rij,rj->ri", spread, rng.standard_normal(means.shape))
        draws = means + shared.deviations[:, None] * steps
        all_curves = np.concatenate([curves, draws])
    vertices, far = _vertices(cut, all_curves, shared.skews[: len(all_curves)])
    if len(all_curves) > 1:
        drawn, unresolved = vertices[1:], float(far[1:].mean())
    at = vertices[:, 0] - cut.centre
    bend = 2 * cut.unit * all_curves[:, 2] * np.exp(shared.skews[: len(at)] * at)
    params, tokens, flops, loss = (
        estimate(np.exp(vertices[0, k]), None if drawn is None else np.exp(drawn[:, k]), level)
        for k in range(4)
    )
    c0, c1, c2 = cut.unit * curves[0]
    spare = len(cut.x) - 3
    noise = cut.unit * np.sqrt(np.sum(residuals[0] ** 2) / spare) if spare else None
    valley = Valley(
        budget=float(cut.points.budget[0]),
        flops=flops.value,
        params=params,
        tokens=tokens,
        loss=loss,
        centre=float(np.exp(cut.centre)),
        coefficients=(float(c0), float(c1), float(c2)),
        lowest_params=float(cut.inside.params[0]),
        highest_params=float(cut.inside.params[-1]),
        points=len(cut.x),
        noise=None if noise is None else float(noise),
        skew=float(shared.skews[0]),
        window=cut.factor,
        sizes=len(cut.points),
    )
    return ValleyFit(valley, vertices[0], drawn, bend, unresolved)


def _vertices(cut: _Cut, curves: Array, skews: Array) -> tuple[Array, Array]:
    """log N*, log D*, log C, log L* [R 4] of curves [R 3], and which were cut off [R].

    A curve that falls without end has its vertex on the side to which it falls, cut off a factor
    of ten beyond the sizes.
    """
    c0, c1, c2 = curves.T
    logs = np.log(cut.points.params) - cut.centre
    low, high = logs[0] - BEYOND, logs[-1] + BEYOND
    with np.errstate(divide="ignore", invalid="ignore"):
        at = lowest_point(c1 / c2, skews)
    at = np.where((c2 > 0) & np.isfinite(at), at, np.where(c1 > 0, -np.inf, np.inf))
    far = (at < low) | (at > high)
    at = np.clip(at, low, high)
    loss = cut.unit * np.maximum(c0 + c1 * at + c2 * skewed_square(at, skews), 0.01)
    flops, tokens = compute_at(cut.points, at + cut.centre)
    return np.stack([at + cut.centre, tokens, flops, np.log(loss)], -1), far


def compute_at(points: Points, log_params: Array) -> tuple[Array, Array]:
    """log C and log D [R] at sizes log N [R] of one budget, by a smooth log(C / (N D)).

    `points` are in order of size. Beyond their sizes the ratio goes on as a straight line.
    """
    x = np.log(points.params)
    polynomial = np.polynomial.Polynomial
    flops = polynomial.fit(x, np.log(points.flops), 1)
    ratio = np.log(points.flops / points.params / points.tokens)
    curve = polynomial.fit(x, ratio, 2 if len(x) > 4 else 1)
    inside = np.clip(log_params, x[0], x[-1])
    log_ratio = curve(inside) + curve.deriv()(inside) * (log_params - inside)
    log_flops = flops(inside)
    return log_flops, log_flops - log_params - log_ratio


def _too_few(points: Points) -> Refusal:
    where = f"budget {points.budget[0]:.3g}"
    sizes = "1 size" if len(points) == 1 else f"{len(points)} sizes"
    return Refusal("too few points", where, f"{sizes}; a parabola needs three")


def _no_vertex(cut: _Cut, curve: Array, skew: float) -> Refusal | None:
    params, where = cut.points.params, f"budget {cut.points.budget[0]:.3g}"
    if curve[2] <= 0:
        return Refusal(
            "wrong curvature",
            where,
            "the parabola opens downwards: widen the range of sizes or add seeds",
        )
    vertex = float(lowest_point(curve[1] / curve[2], skew))
    vertex = np.log(params[0]) - 1 - cut.centre if np.isnan(vertex) and curve[1] > 0 else vertex
    if not np.log(params[0]) <= vertex + cut.centre <= np.log(params[-1]):
        below = vertex + cut.centre < np.log(params[0])
        side, remedy = ("below", "smaller") if below else ("above", "larger")
        message = (
            f"the vertex lies {side} the sizes {params[0]:.3g} to {params[-1]:.3g}: add {remedy} "
            "models"
        )
        return Refusal("vertex outside the data", where, message)
    return None
