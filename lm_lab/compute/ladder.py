"""Chooses model sizes for a compute budget."""

import math
from collections.abc import Callable, Sequence

from lm_lab.types import UserError


def centre(
    budget_flops: float, *, at: float = 1e11, size: float = 1.2e4, exponent: float = 0.55
) -> float:
    """The parameters around which to choose a budget's sizes: size (budget / at)^exponent.

    The defaults are the optimum of two-layer byte-level decoders of context 64, in matmul
    parameters.
    """
    return size * (budget_flops / at) ** exponent


def widths_near(
    target: float, ratios: Sequence[float], count: Callable[[int], int], multiple: int
) -> list[int]:
    """Widths whose sizes are nearest target * ratio for each of the ratios, ascending and distinct.

    `count` gives the parameters of a width and must grow with it. Widths are multiples of
    `multiple` (the number of heads times the divisor of a head's dimension). Small targets may give
    fewer widths than ratios, because several sizes share a width. Raises UserError if no width
    reaches a size.
    """
    return sorted(
        {
            multiple * _nearest(target * ratio, lambda units: count(multiple * units))
            for ratio in ratios
        }
    )


_MOST_UNITS = 1 << 24


def _nearest(size: float, count: Callable[[int], int]) -> int:
    """The argument, 1 or more, at which a growing function is nearest `size` in ratio, bisected."""
    high = 1
    while count(high) < size:
        high *= 2
        if high > _MOST_UNITS:
            raise UserError(
                f"no width has {size:.3g} parameters; the count does not grow with the width"
            )
    low = max(1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < size else (low, middle)
    return min((low, high), key=lambda units: abs(math.log(count(units) / size)))
