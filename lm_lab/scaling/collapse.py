"""Whether the training curves of a ladder are one curve, once each is normalised (2507.02119).

Models that are scaled well, each trained for its own compute, have the same curve of (L(x) - E) /
(L(1) - E) against x, the share of the run that is done: a model that learns too fast or too slowly
for its size, by a rate, a warm-up or a length that was not scaled along, has a different one. The
spread of the normalised curves is compared with the spread that seeds alone cause between curves of
one model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

from lm_lab.scaling.records import Refusal

Array = np.ndarray

BINS = 20  # equal parts of a run; curves are averaged within them, and end in the last
FEWEST = 10  # values of a curve, below which most parts are interpolated
HIGHEST_OFFSET = 0.95  # E is looked for up to this share of the lowest final loss


class Curve(NamedTuple):
    """The losses of a run against its compute; runs of one `rung` differ in their seed alone."""

    rung: str
    flops: Array  # f64[n]; any measure of progress from the run's beginning does
    loss: Array  # f64[n], nats a token or bits a byte, means since the value before


@dataclass(frozen=True)
class Collapse:
    """How far the normalised curves of a ladder lie apart, as shares of their mean.

    `x` are the parts of a run [K], `rungs` the names [P], `curves` the normalised curves [P][K],
    means over seeds. `deviation` [K] is the s.d. of the normalised curves of all runs, divided by
    their mean; `noise` [K] the s.d. of L - E over seeds, divided by its mean, pooled over rungs
    (None: no rung has two seeds). `residual` and `floor` are their root mean squares, the last
    part left out, where all normalised curves are 1.
    """

    irreducible: float  # E, in the unit of the losses; below 0.95 of the lowest final loss
    x: tuple[float, ...]
    rungs: tuple[str, ...]
    curves: tuple[tuple[float, ...], ...]
    deviation: tuple[float, ...]
    noise: tuple[float, ...] | None
    residual: float
    floor: float | None

    @property
    def collapsed(self) -> bool | None:
        """Whether the curves are no farther apart than seeds alone would put them; None: the noise
        is unknown.
        """
        return None if self.floor is None else self.residual <= self.floor


def collapse(
    curves: Sequence[Curve], irreducible: float | None = None, skip: float = 0.1
) -> Collapse | Refusal:
    """The collapse of the curves of two rungs or more, over all but the first `skip` of a run.

    Without an `irreducible` loss E, the one that brings the normalised curves nearest together is
    taken, from 0 up: the verdict is then as favourable as any E makes it. Refuses one rung, and
    curves of fewer than ten finite values, without the first part of the run (as of a branch) or
    without a final loss above E.
    """
    names = list(dict.fromkeys(curve.rung for curve in curves))
    if len(names) < 2:
        rungs = "1 rung" if names else "no rungs"
        return Refusal("too few budgets", "collapse", f"{rungs}; a collapse needs two")
    curves = [_in_order(curve) for curve in curves]
    if any(len(curve.loss) < FEWEST for curve in curves):
        message = f"a curve has fewer than {FEWEST} values: lower train.log_every_steps"
        return Refusal("too few points", "collapse", message)
    first, rung = max((curve.flops[0], curve.rung) for curve in curves)
    if first > skip + 1 / BINS:
        message = f"a curve of {rung} begins at {first:.0%} of its run, as that of a branch does"
        return Refusal("too few points", "collapse", message)
    edges = np.linspace(0, 1, BINS + 1)
    bins = np.flatnonzero(edges[1:] > skip + 1e-9)
    binned = np.stack([_binned(curve, edges)[bins] for curve in curves])
    rung_of_curve = np.array([names.index(curve.rung) for curve in curves])
    lowest = binned[:, -1].min()
    if irreducible is None:
        offsets = np.linspace(0, HIGHEST_OFFSET * lowest, 200)
        irreducible = float(
            offsets[np.argmin([_apart(binned, rung_of_curve, offset) for offset in offsets])]
        )
    if lowest <= irreducible:
        message = f"a final loss of {lowest:.4g} is not above E = {irreducible:.4g}"
        return Refusal("no optimum", "collapse", message)
    normalised = _normalised(binned, irreducible)
    means = _by_rung(normalised, rung_of_curve)
    deviation = normalised.std(0, ddof=1) / normalised.mean(0)
    noise = _noise(binned - irreducible, rung_of_curve)
    return Collapse(
        irreducible=irreducible,
        x=tuple(map(float, (edges[1:] + edges[:-1])[bins] / 2)),
        rungs=tuple(names),
        curves=tuple(tuple(map(float, mean)) for mean in means),
        deviation=tuple(map(float, deviation)),
        noise=None if noise is None else tuple(map(float, noise)),
        residual=_root_mean_square(deviation[:-1]),
        floor=None if noise is None else _root_mean_square(noise[:-1]),
    )


def _in_order(curve: Curve) -> Curve:
    """The finite values, with the share of the run that is done, from 0 to 1, as `flops`."""
    done, place = np.unique(np.asarray(curve.flops, np.float64), return_index=True)
    loss = np.asarray(curve.loss, np.float64)[place]
    return Curve(curve.rung, (done / done[-1])[np.isfinite(loss)], loss[np.isfinite(loss)])


def _binned(curve: Curve, edges: Array) -> Array:
    """Mean losses of the parts of a run [K], by a smooth integral of the loss, so that how often it
    was logged does not move the curve.
    """
    done = np.append(0.0, curve.flops)
    total = np.append(0.0, np.cumsum(curve.loss * np.diff(done)))
    integral = PchipInterpolator(done, total)(np.minimum(edges, done[-1]))
    parts = np.diff(np.minimum(edges, done[-1]))
    means = np.diff(integral) / np.maximum(parts, 1e-12)
    return np.where(parts > 0, means, curve.loss[-1])


def _normalised(binned: Array, offset: float) -> Array:
    return (binned - offset) / (binned[:, -1:] - offset)


def _by_rung(values: Array, place: Array) -> Array:
    return np.stack([values[place == rung].mean(0) for rung in range(place.max() + 1)])


def _apart(binned: Array, place: Array, offset: float) -> float:
    """The spread of the rungs' normalised curves, as a share of their fall."""
    means = _by_rung(_normalised(binned, offset), place)
    return _root_mean_square(means.std(0)) / max(_root_mean_square(means.mean(0) - 1), 1e-12)


def _noise(reducible: Array, place: Array) -> Array | None:
    """Relative s.d. over seeds [K], pooled over the rungs with two or more."""
    squares, degrees = np.zeros(reducible.shape[1]), 0
    for rung in range(place.max() + 1):
        relative = reducible[place == rung] / reducible[place == rung].mean(0)
        squares += ((relative - 1) ** 2).sum(0)
        degrees += len(relative) - 1
    return np.sqrt(squares / degrees) if degrees else None


def _root_mean_square(values: Array) -> float:
    return math.sqrt(float(np.mean(values**2)))
