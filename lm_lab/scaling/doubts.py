"""Cautions about approach 2, and about outlying points."""

import numpy as np
from scipy import stats

from lm_lab.scaling.points import Points
from lm_lab.scaling.records import Caution
from lm_lab.scaling.valleys import Valleys, fit_valleys
from lm_lab.scaling.windows import WINDOW

Array = np.ndarray
UNLIKELY = 0.01  # below this probability under the null a test speaks


def outlier_cautions(points: Points, out: Array, rule: str) -> list[Caution]:
    """A caution for each outlier, marked in `out` [n] by the rule of the valley or of the
    surface.
    """
    what = {
        "valley": "its own valley rejects its loss {loss:.4g}: left out of it (approach 2); the "
        "variants show the answer with it",
        "surface": "its loss {loss:.4g} is far off the surface; the variants show approach 3 "
        "without it",
    }[rule]
    return [
        Caution(
            "outlier",
            f"{points.params[i]:.3g} parameters at {points.budget[i]:.3g} FLOPs",
            what.format(loss=points.loss[i]),
        )
        for i in np.flatnonzero(out)
    ]


def valley_cautions(valleys: Valleys, seen: Points) -> list[Caution]:
    """Reasons to doubt the valleys' intervals; `seen` are the points from which the noise was
    estimated.
    """
    cautions = [*_unresolved(valleys), *_wide(valleys), *_shape(seen), *_misfit(seen)]
    if valleys.good() and len(seen) and valleys.noise is None:
        message = "three sizes a budget and one seed leave no noise to see: no intervals"
        cautions.append(Caution("no residual", "approach 2", message))
    return cautions


def _unresolved(valleys: Valleys) -> list[Caution]:
    return [
        Caution(
            "unresolved valley",
            f"budget {fit.valley.budget:.3g}",
            f"in {fit.unresolved:.0%} of the draws the valley has no lowest point within a factor "
            "of ten of the sizes: add sizes or seeds",
        )
        for fit in valleys.good()
        if fit.unresolved > 0.05
    ]


def _wide(valleys: Valleys) -> list[Caution]:
    wide = [fit.valley for fit in valleys.good() if (fit.valley.window or 0) > WINDOW * (1 + 1e-9)]
    return [
        Caution(
            "wide window",
            f"budget {valley.budget:.3g}",
            f"too few sizes within x{WINDOW:g} of the lowest loss: fitted to {valley.points} "
            f"within x{valley.window:.3g}",
        )
        for valley in wide
    ]


def _squares(points: Points, factor: float, skewed: bool) -> tuple[float, int]:
    noise = fit_valleys(points, factor=factor, skewed=skewed).noise
    return (0.0, 0) if noise is None else (noise.freedom * noise.deviation**2, noise.freedom)


def _shape(seen: Points) -> list[Caution]:
    """The F test of the one skew that all valleys share against plain parabolas."""
    plain, freedom = _squares(seen, WINDOW, skewed=False)
    free, _ = _squares(seen, WINDOW, skewed=True)
    if freedom < 2 or free <= 0:
        return []
    chance = float(stats.f.sf((plain - free) / (free / (freedom - 1)), 1, freedom - 1))
    if chance > UNLIKELY:
        return []
    message = (
        f"a cubic term is significant (p = {chance:.1g}): the skew corrects for it; plain "
        "parabolas are among the variants"
    )
    return [Caution("skewed valleys", "approach 2", message)]


def _misfit(seen: Points) -> list[Caution]:
    """The F test of the noise that the wider window adds to that of half its factor."""
    wide, more = _squares(seen, WINDOW, skewed=True)
    narrow, fewer = _squares(seen, WINDOW / 2, skewed=True)
    if more - fewer < 2 or fewer < 2 or narrow <= 0:
        return []
    ratio = (wide - narrow) / (more - fewer) / (narrow / fewer)
    chance = float(stats.f.sf(ratio, more - fewer, fewer))
    if chance > UNLIKELY:
        return []
    message = (
        f"points more than x{WINDOW / 2:g} from the lowest loss lie off the valleys by more than "
        f"the noise of the others (p = {chance:.1g}): see the variant with window x{WINDOW / 2:g}"
    )
    return [Caution("lack of fit", "approach 2", message)]
