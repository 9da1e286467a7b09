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

import functools
import hashlib
import itertools
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from lm_lab.types import UserError

Point = dict[str, Any]
Sweep = list[Point]


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


def _merge(left: Point, right: Point) -> Point:
    for key in right:
        if key in left:
            raise UserError(
                f"{key} is set by two sweeps of one product: {left[key]!r} and {right[key]!r}; "
                "keep one"
            )
    return left | right
