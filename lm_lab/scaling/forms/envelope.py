"""Approach 1 (2203.15556): N*(C) from the lower envelope of training curves.

N*(C) = k C^a: C in FLOPs. Rows are points of training curves, one curve a size; `decayed` says how
much of the learning rate's decay lies behind a row. Rows of different stages are refused: a run in
mid-decay is above one that has ended at the same compute, so that the envelope would be that of
the schedule. Each curve is smoothed by L = E + K C^-g. Where the envelope passes from one size to
the next the two losses are equal, and there N* is their geometric mean, which has the exponent of
the surface exactly if sizes are a constant factor apart. The noise of one curve moves two
neighbouring crossings, which intervals here do not know: they count crossings as independent.
"""

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
    sizes, ends, smooth = [], [], []
    for size in np.unique(usable["params"]):
        rows = {name: column[usable["params"] == size] for name, column in usable.items()}
        if len(rows["loss"]) >= POINTS and len(np.unique(rows["flops"])) >= POINTS:
            data = Data.of(CURVE, "loss", rows)
            theta, _ = robust_fit(data)
            sizes.append(size)
            ends.append((np.log(rows["flops"].min()), np.log(rows["flops"].max())))
            smooth.append((theta[0], theta[1] + theta[2] * data.centre["flops"], theta[2]))
    if len(sizes) < 3:
        message = f"{len(sizes)} sizes have {POINTS} points of a curve; an envelope needs three"
        return Refusal("too few points", "envelope", message)
    log_flops, at = _trace(np.array(smooth), np.array(ends))
    middles = np.sqrt(np.array(sizes)[at] * np.array(sizes)[at + 1])
    return Reduced({"flops": np.exp(log_flops), "params": middles}, (*stage, *cautions))


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


def _trace(smooth: Array, ends: Array) -> tuple[Array, Array]:
    """log C of each crossing of the envelope, and the place of the smaller of its two sizes.

    smooth [S 3]: (log E, log K, g) of each size; ends [S 2]: log C that its curve covers.
    """
    x = np.linspace(ends.min(), ends.max(), STEPS)
    losses = _losses(smooth, x)
    covered = (x >= ends[:, :1]) & (x <= ends[:, 1:])
    lowest = np.where(covered, losses, np.inf).argmin(0)
    places, crossings = [], []
    for index in np.flatnonzero((np.diff(lowest) == 1) & covered.any(0)[1:]):
        first = lowest[index]
        if covered[first, index + 1] and covered[first + 1, index]:  # no jump where a curve ends
            places.append(first)
            crossings.append(_equal(smooth[first : first + 2], x[index], x[index + 1]))
    return np.array(crossings), np.array(places, np.int64)


def _losses(smooth: Array, x: Array) -> Array:
    log_e, log_k, slope = smooth.T[..., None]
    return np.exp(log_e) + np.exp(log_k - slope * x)


def _equal(pair: Array, low: float, high: float) -> float:
    """log C between low and high at which two curves meet, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        first, second = _losses(pair, np.array([middle]))[:, 0]
        low, high = (middle, high) if first < second else (low, middle)
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
