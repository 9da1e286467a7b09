"""Checks that a table's sizes, tokens and compute agree: C is 2 to 20 times N D in every
convention.

Judged before any fit. No cell is left out by its loss.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from lm_lab.scaling.points import Points
from lm_lab.scaling.records import Caution, Refusal

Array = np.ndarray
USUAL = (2.0, 20.0)  # C / (N D): 6 for matrix products, more with attention or an uncounted head
JUMP = 5.0  # a factor off the trend of the other cells that no convention of counting explains
POSSIBLE = (0.06, 6000.0)  # beyond: a column is in another unit
ALONE = 1e3  # a factor in N or D that no design leaves between a few cells and all others
FEW = 0.1  # of the cells
USUAL_DATA = (0.1, 1e5)  # D / N of trained models, with room


@dataclass(frozen=True)
class UnitCheck:
    """Cells to leave out of every fit (mask [n]), the cautions, and the reason to refuse all
    answers.
    """

    odd: Array
    cautions: tuple[Caution, ...]
    refusal: Refusal | None


def check_units(points: Points) -> UnitCheck:
    """Judges C / (N D): a cell against the trend of the others, and all against the usual range."""
    if not len(points):
        return UnitCheck(np.zeros(0, bool), (), None)
    ratio = points.flops / points.params / points.tokens
    odd = _jumps(np.log(points.params), np.log(ratio))
    alone, alone_cautions = _alone(points, odd)
    cautions = [
        Caution(
            "run left out",
            f"{points.params[i]:.3g} parameters at {points.budget[i]:.3g} FLOPs",
            f"its C / (N D) is {ratio[i]:.2g}, and {np.median(ratio[~odd]):.2g} in the others: "
            "left out of every fit; check its size, tokens and compute",
        )
        for i in np.flatnonzero(odd)
    ]
    odd = odd | alone
    cautions += [*alone_cautions, *_doubtful(points.where(~odd))]
    low, high = ratio[~odd].min(), ratio[~odd].max()
    span = f"C / (N D) is {low:.2g} to {high:.2g}"
    if low < USUAL[0] or high > USUAL[1]:
        message = f"{span}, and 6 is usual: check the units and what N counts"
        cautions.append(Caution("compute is not about 6ND", "all cells", message))
    refusal = None
    if not POSSIBLE[0] <= np.median(ratio[~odd]) <= POSSIBLE[1]:
        message = f"{span}, where 6 is usual: a column is in another unit, so no optimum is given"
        refusal = Refusal("units do not agree", "all cells", message)
    return UnitCheck(odd, tuple(cautions), refusal)


def _alone(points: Points, odd: Array) -> tuple[Array, list[Caution]]:
    """Mask of the few cells whose N or D is a factor ALONE from all others, and cautions of those
    that are not `odd` anyhow.

    Where compute was counted as 6 N D, C / (N D) cannot show that one of the two is wrong.
    """
    alone, cautions = odd.copy(), []
    for letter, values in (("N", points.params), ("D", points.tokens)):
        order = np.argsort(values, kind="stable")
        gaps = np.flatnonzero(np.diff(np.log(values[order])) > np.log(ALONE)) + 1
        groups = [group for group in np.split(order, gaps) if len(group) <= FEW * len(points)]
        for i in (i for group in groups if len(gaps) for i in group.tolist() if not alone[i]):
            alone[i] = True
            message = (
                f"its {letter} is {values[i]:.3g}, and {np.median(values):.3g} in the middle of "
                f"all cells, none within x{ALONE:g} of it: left out of every fit; check its unit"
            )
            where = f"{points.params[i]:.3g} parameters at {points.budget[i]:.3g} FLOPs"
            cautions.append(Caution("run left out", where, message))
    return alone, cautions


def _doubtful(points: Points) -> list[Caution]:
    """Cautions of values that are possible, but usual in another unit or of another quantity."""
    cautions, data = [], float(np.median(points.tokens / points.params))
    if not USUAL_DATA[0] <= data <= USUAL_DATA[1]:
        message = (
            f"D / N is {data:.2g} in the middle of the cells: check that tokens are no steps or "
            "sequences, and the units of both"
        )
        cautions.append(Caution("unusual tokens a parameter", "all cells", message))
    return cautions


def _jumps(log_params: Array, log_ratio: Array) -> Array:
    """Mask of the cells a factor JUMP off a line that half of the cells cannot move."""
    if len(log_ratio) < 5 or len(np.unique(log_params)) < 3:
        return np.abs(log_ratio - np.median(log_ratio)) > np.log(1e3)
    slope, intercept = stats.siegelslopes(log_ratio, log_params)
    return np.abs(log_ratio - intercept - slope * log_params) > np.log(JUMP)
