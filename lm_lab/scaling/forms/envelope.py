"""Approach 1 (2203.15556): N*(C) from the lower envelope of training curves.

N*(C) = k C^a: C in FLOPs. Rows are points of training curves, one curve a size; `decayed` says how
much of the learning rate's decay lies behind a row. Rows of different stages are refused: a run in
mid-decay is above one that has ended at the same compute, so that the envelope would be that of
the schedule. Each curve is smoothed by L = E + K C^-g. Where the envelope passes from one size to
the next the two losses are equal, and there N* is their geometric mean, which has the exponent of
the surface exactly if sizes are a constant factor apart.

The noise of a curve moves the crossings at both its ends, in opposite directions: their errors
largely cancel in the exponent, and intervals that took crossings as independent would be almost
twice too wide. The dependence follows from the errors of the smoothed curves; the size of the noise
is that of the crossings about the law, so that runs may differ by more than the points of one do.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lm_lab.scaling.contract import Array, Columns
from lm_lab.scaling.curves import Reduced, form, usable_rows
from lm_lab.scaling.estimation import Curve, Data, robust_fit
from lm_lab.scaling.powers import FLATTEST, STEEPEST, grid, growth
from lm_lab.scaling.records import Caution, Refusal

SAME_STAGE = 0.05  # rows whose shares of the decay differ by less are of one stage
POINTS = 6  # on a curve, at least: three parameters, and a residual worth the name
STEPS = 2000  # of compute, on which the envelope is traced before its crossings are refined

CURVE = Curve(
    inputs=("flops",),
    predict=lambda theta, x: np.exp(theta[0]) + np.exp(theta[1] - theta[2] * x["flops"]),
    parameters=(),
    publish=lambda theta, centre: (),
    starts=lambda x, target: np.array(
        [
            [np.log(share * target.min()), np.log(np.median(target) - share * target.min()), slope]
            for share, slope in grid([0.3, 0.7, 0.95], [0.05, 0.2, 0.5, 1.0])
        ]
    ),
    low=(-30.0, -60.0, FLATTEST),
    high=(30.0, 60.0, STEEPEST),
)


def _crossings(columns: Columns) -> Reduced | Refusal:
    """Columns flops and params: where the envelope passes from one size to the next."""
    usable, cautions = usable_rows("envelope", ("params", "flops", "loss"), columns)
    stage = _stage(columns)
    if isinstance(stage, Refusal):
        return stage
    smooth = []
    for size in np.unique(usable["params"]):
        rows = {name: column[usable["params"] == size] for name, column in usable.items()}
        if len(rows["loss"]) >= POINTS and len(np.unique(rows["flops"])) >= POINTS:
            data = Data.of(CURVE, "loss", rows)
            smooth.append(_Smooth(size, data, robust_fit(data)[0], rows["runs"].mean()))
    if len(smooth) < 3:
        message = f"{len(smooth)} sizes have {POINTS} points of a curve; an envelope needs three"
        return Refusal("too few points", "envelope", message)
    log_flops, at = _trace(smooth)
    middles = np.array([np.sqrt(smooth[i].size * smooth[i + 1].size) for i in at])
    return Reduced(
        {"flops": np.exp(log_flops), "params": middles},
        (*stage, *cautions),
        _spread(smooth, log_flops, at),
    )


class _Smooth(NamedTuple):
    """A training curve, smoothed: its size, its points, CURVE's theta, seeds a point."""

    size: float
    data: Data
    theta: Array
    runs: float

    @property
    def coordinates(self) -> Array:
        """(log E, log K, g) of L = E + K C^-g."""
        log_e, log_k, slope = self.theta
        return np.array([log_e, log_k + slope * self.data.centre["flops"], slope])

    @property
    def ends(self) -> tuple[float, float]:
        """log C that its points cover."""
        log_flops = self.data.x["flops"] + self.data.centre["flops"]
        return log_flops.min(), log_flops.max()

    def losses(self, log_flops: Array) -> Array:
        log_e, log_k, slope = self.coordinates
        return np.exp(log_e) + np.exp(log_k - slope * log_flops)

    def fall(self, log_flops: float) -> float:
        """-dL / d log C."""
        _, log_k, slope = self.coordinates
        return float(slope * np.exp(log_k - slope * log_flops))

    def errors(self, log_flops: float) -> Array:
        """[3]: how the loss at log C moves with each of the independent errors of the fit, for
        points whose log losses have errors of unit variance.
        """
        here = replace(self.data, x={"flops": log_flops - np.array([self.data.centre["flops"]])})
        of_points = self.data.model.linearise(self.theta[None])[1][0] * np.sqrt(self.data.weight)
        directions, size, _ = np.linalg.svd(of_points, full_matrices=False)
        moved = here.model.linearise(self.theta[None])[1][0, :, 0] @ directions
        seen = size > 1e-9 * size[0]
        relative = np.where(seen, moved / np.where(seen, size, 1.0), 0.0) / np.sqrt(self.runs)
        return relative * self.losses(np.array([log_flops]))


def _spread(smooth: Sequence[_Smooth], log_flops: Array, at: Array) -> Array:
    """[n 3 S] as estimation.Data has it: errors of the crossings from those of S curves."""
    spread = np.zeros((len(at), len(smooth), 3))
    for row, (x, place) in enumerate(zip(log_flops, at)):
        first, second = smooth[place : place + 2]
        falls = [
            np.exp(log_k - slope * x) * slope
            for _, log_k, slope in (first.coordinates, second.coordinates)
        ]
        spread[row, place] = first.errors(x) / (falls[1] - falls[0])
        spread[row, place + 1] = -second.errors(x) / (falls[1] - falls[0])
    flat = spread.reshape(len(at), 3 * len(smooth))
    return flat / np.sqrt(np.mean(np.sum(flat**2, 1)))


def _stage(columns: Columns) -> tuple[Caution, ...] | Refusal:
    if "decayed" not in columns or np.isnan(columns["decayed"]).all():
        message = "no column says how far the rate's decay was: rows are taken as of one stage"
        return (Caution("decay stage unknown", "envelope", message),)
    low, high = np.nanmin(columns["decayed"]), np.nanmax(columns["decayed"])
    if high - low <= SAME_STAGE:
        return ()
    message = (
        f"rows have {low:.0%} to {high:.0%} of the rate's decay behind them; give rows of one "
        "stage, as the ends of runs or a constant rate"
    )
    return Refusal("mixed decay stages", "envelope", message)


def _trace(smooth: Sequence[_Smooth]) -> tuple[Array, Array]:
    """log C of each crossing of the envelope, and the place of the smaller of its two sizes."""
    ends = np.array([curve.ends for curve in smooth])
    x = np.linspace(ends.min(), ends.max(), STEPS)
    losses = np.array([curve.losses(x) for curve in smooth])
    covered = (x >= ends[:, :1]) & (x <= ends[:, 1:])
    lowest = np.where(covered, losses, np.inf).argmin(0)
    places, crossings = [], []
    for index in np.flatnonzero((np.diff(lowest) == 1) & covered.any(0)[1:]):
        first = lowest[index]
        if covered[first, index + 1] and covered[first + 1, index]:  # no jump where a curve ends
            places.append(first)
            crossings.append(_equal(smooth[first], smooth[first + 1], x[index], x[index + 1]))
    return np.array(crossings), np.array(places, np.int64)


def _equal(smaller: _Smooth, larger: _Smooth, low: float, high: float) -> float:
    """log C between low and high at which two curves meet, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        here = np.array([middle])
        is_lower = smaller.losses(here)[0] < larger.losses(here)[0]
        low, high = (middle, high) if is_lower else (low, middle)
    return (low + high) / 2


FORM = form(
    "envelope",
    "N*(C) = k C^a, from the lower envelope of training curves",
    "arXiv:2203.15556",
    "params",
    growth(("k", "parameters"), {"flops": "a"}),
    needs=("params", "flops", "loss"),
    optional=("decayed", "runs"),
    reduce=_crossings,
)
