"""From a budget to sizes."""

import math
from collections.abc import Callable, Sequence

from lm_lab.types import UserError


def centre(
    budget_flops: float, *, at: float = 1e11, size: float = 1.2e4, exponent: float = 0.55
) -> float:
    """Parameters to centre a budget's sizes on: size (budget / at)^exponent.

    The defaults are the optimum of two-layer byte-level decoders of context 64, by matmul
    parameters.
    """
    return size * (budget_flops / at) ** exponent


def widths_near(
    target: float, ratios: Sequence[float], count: Callable[[int], int], multiple: int
) -> list[int]:
    """Widths, ascending and distinct, whose sizes are nearest target * ratio, in ratio, for each of
    the ratios.

    `count` gives the parameters of a width, and grows with it; widths are multiples of `multiple`
    (of heads times what a head dim must divide by). Sizes that fall on one width give it once, so
    small targets may give fewer widths than ratios. Raises UserError where a size is out of the
    reach of every width.
    """
    return sorted(
        {
            multiple * _nearest(target * ratio, lambda units: count(multiple * units))
            for ratio in ratios
        }
    )


_MOST_UNITS = 1 << 24


def _nearest(size: float, count: Callable[[int], int]) -> int:
    """The argument, from 1 up, of a growing function whose value is nearest `size` in ratio; by
    bisection.
    """
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
