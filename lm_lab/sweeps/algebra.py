"""The algebra of sweeps: a sweep is a list of points, a point is a flat dict of dotted overrides.

>>> sizes = prefix("model", together(param("width", [16, 32]), param("heads", [2, 4])))
>>> sizes
[{'model.width': 16, 'model.heads': 2}, {'model.width': 32, 'model.heads': 4}]
>>> large = [{"model.width": 64, "model.heads": 4, "seed": 0}]
>>> for point in chain(product(sizes, param("seed", [0, 1])), large):
...     print(point)
{'model.width': 16, 'model.heads': 2, 'seed': 0}
{'model.width': 16, 'model.heads': 2, 'seed': 1}
{'model.width': 32, 'model.heads': 4, 'seed': 0}
{'model.width': 32, 'model.heads': 4, 'seed': 1}
{'model.width': 64, 'model.heads': 4, 'seed': 0}

Pure: no function changes its arguments. A hand-written list of dicts is a sweep too.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from lm_lab.types import UserError

Point = dict[str, Any]
Sweep = list[Point]
Spread = Callable[[float], Any]
"""A share in [0, 1) -> a value: how values are spread, as `uniform` and the like give it."""

DIGITS = 6  # of a drawn number


def param(key: str, values: Iterable[Any]) -> Sweep:
    """One point for each value. NumPy numbers become Python's. Raises UserError where there is no
    value.

    >>> param("optimizer.peak_rate", np.array([0.5, 0.25]))
    [{'optimizer.peak_rate': 0.5}, {'optimizer.peak_rate': 0.25}]
    """
    sweep = [{key: value.item() if isinstance(value, np.generic) else value} for value in values]
    if not sweep:
        raise UserError(f"{key} has no values to sweep over; give at least one")
    return sweep


def product(*sweeps: Sweep) -> Sweep:
    """Every combination; the last sweep varies fastest. Of nothing: one empty point, the unit of
    the product.

    Raises UserError where two sweeps set the same key.

    >>> product(param("seed", [0, 1]), param("model.depth", [2, 4])) == [
    ...     {"seed": 0, "model.depth": 2}, {"seed": 0, "model.depth": 4},
    ...     {"seed": 1, "model.depth": 2}, {"seed": 1, "model.depth": 4}]
    True
    """
    return [functools.reduce(_merge, points, {}) for points in itertools.product(*sweeps)]


def together(*sweeps: Sweep) -> Sweep:
    """The first points of all sweeps, the second ones, ... (a zip). Raises UserError for unequal
    lengths, equal keys.

    >>> together(param("model.width", [16, 32]), param("model.depth", [2, 4]))
    [{'model.width': 16, 'model.depth': 2}, {'model.width': 32, 'model.depth': 4}]
    """
    lengths = [len(sweep) for sweep in sweeps]
    if len(set(lengths)) > 1:
        raise UserError(
            f"sweeps that vary together need equal lengths, not {', '.join(map(str, lengths))}"
        )
    return [functools.reduce(_merge, points, {}) for points in zip(*sweeps)]


def chain(*sweeps: Sweep) -> Sweep:
    """One sweep after the other.

    >>> chain(param("seed", [0]), param("model.depth", [2, 4]))
    [{'seed': 0}, {'model.depth': 2}, {'model.depth': 4}]
    """
    return [dict(point) for sweep in sweeps for point in sweep]


def prefix(name: str, sweep: Sweep) -> Sweep:
    """The same points, each key under `name`.

    >>> prefix("model", param("width", [16]))
    [{'model.width': 16}]
    """
    return [{f"{name}.{key}": value for key, value in point.items()} for point in sweep]


def subsample(sweep: Sweep, count: int, seed: int) -> Sweep:
    """`count` points, chosen by the seed and kept in order; the same on every machine.

    A larger count keeps all that a smaller one chose. Raises UserError for a count outside 0 ..
    len(sweep).

    >>> grid = product(param("seed", range(10)), param("model.depth", [2, 4]))
    >>> len(subsample(grid, count=5, seed=0))
    5
    """
    if not 0 <= count <= len(sweep):
        raise UserError(
            f"subsample: count must lie in 0 .. {len(sweep)}, the size of the sweep, not {count}"
        )
    ranks = [
        hashlib.sha256(json.dumps([seed, point], sort_keys=True).encode()).digest()
        for point in sweep
    ]
    chosen = sorted(sorted(range(len(sweep)), key=ranks.__getitem__)[:count])
    return [dict(sweep[index]) for index in chosen]


def sample(spreads: Mapping[str, Spread], count: int, seed: int) -> Sweep:
    """`count` random points, each key drawn by its spread; the same on every machine.

    A larger count keeps all that a smaller one drew, and another key changes no other's values, so
    that a study may grow. `product` with seeds runs each point with all of them. Raises UserError
    for a count below 1 or no key.

    >>> rates = sample({"optimizer.peak_rate": log_uniform(1e-3, 1e-1)}, count=2, seed=0)
    >>> rates
    [{'optimizer.peak_rate': 0.0842878}, {'optimizer.peak_rate': 0.00623312}]
    >>> rates == sample({"optimizer.peak_rate": log_uniform(1e-3, 1e-1)}, count=9, seed=0)[:2]
    True
    """
    if count < 1 or not spreads:
        raise UserError(f"sample: give one key or more and a count of 1 or more, not {count}")
    return [
        {key: spread(_share([seed, key, number])) for key, spread in spreads.items()}
        for number in range(count)
    ]


@dataclasses.dataclass(frozen=True)
class Numbers:
    """A spread of numbers from low to high, equally likely, or with `is_log` their logarithms."""

    low: float
    high: float
    is_log: bool

    def __call__(self, share: float) -> float:
        if self.is_log:
            return self.rounded(self.low * (self.high / self.low) ** share)
        return self.rounded(self.low + share * (self.high - self.low))

    def rounded(self, value: float) -> float:
        """The value to six digits, so that logarithms of other machines give the same."""
        return min(max(float(f"{value:.{DIGITS}g}"), float(self.low)), float(self.high))


@dataclasses.dataclass(frozen=True)
class Choice:
    """A spread of values, all equally likely."""

    values: tuple[Any, ...]

    def __call__(self, share: float) -> Any:
        return self.values[int(share * len(self.values))]


def uniform(low: float, high: float) -> Numbers:
    """Numbers between low and high, all equally likely. Raises UserError unless low < high.

    >>> uniform(-1.0, 1.0)(0.25)
    -0.5
    """
    if not -math.inf < low < high < math.inf:
        raise UserError(f"uniform: low must be below high, not {low} and {high}")
    return Numbers(low, high, is_log=False)


def log_uniform(low: float, high: float) -> Numbers:
    """Numbers between low and high whose logarithms are all equally likely, as for rates and
    decays. Raises UserError unless 0 < low < high.

    >>> log_uniform(1e-4, 1e-2)(0.5)
    0.001
    """
    if not 0 < low < high < math.inf:
        raise UserError(f"log_uniform: low must be above 0 and below high, not {low} and {high}")
    return Numbers(low, high, is_log=True)


def choice(values: Iterable[Any]) -> Choice:
    """One of the values, all equally likely; range(2, 9) for whole numbers. NumPy numbers become
    Python's. Raises UserError where there is no value.

    >>> choice(["adamw", "lion"])(0.7)
    'lion'
    """
    return Choice(tuple(point["choice"] for point in param("choice", values)))


def _share(of: list[Any]) -> float:
    """A number in [0, 1) that a list of plain values decides, and no generator's release."""
    digest = hashlib.sha256(json.dumps(of).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def _merge(left: Point, right: Point) -> Point:
    for key in right:
        if key in left:
            raise UserError(
                f"{key} is set by two sweeps of one product: {left[key]!r} and {right[key]!r}; "
                "keep one"
            )
    return left | right
