"""Weights of the sources of a mixture, and the rows of each step that follow from them."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lm_lab.schema import Modules, setting
from lm_lab.types import UserError

BLOCK = 1024  # steps that are planned at once
ROUNDING = 1e-6  # of sums of shares, in rows: smaller differences are rounding
LAST_POINT = 10_000_000  # the latest step at which a weight may change

Points = tuple[tuple[float, float], ...]
"""(step, weight), in the order of steps: linear between them, and as at the nearest one outside."""


WeightType = float | tuple[tuple[float, ...], ...]
WEIGHT = "weight"
DOC = (
    "its part of the rows of a batch, relative to the other sources; or [step, weight] points, "
    "linear between them; 0: it is evaluated, and not trained on"
)


def weighted(modules: Modules) -> Modules:
    """The modules of a kind, with a `weight` beside the settings of each."""
    return modules._replace(settings=lambda name, where: _weighted(modules.settings(name, where)))


@functools.cache
def _weighted(settings: type) -> type:
    """The settings class with a field `weight` added. Raises UserError where it has such a field
    already.
    """
    if WEIGHT in {field.name for field in dataclasses.fields(settings)}:
        raise UserError(
            f"{settings.__module__} has a setting {WEIGHT!r} of its own, and sources of a mixture "
            "have one; rename it"
        )

    def check(self: Any) -> None:
        parent = vars(settings).get("__post_init__")
        if parent is not None:
            parent(self)
        points(self.weight)

    with_weight = dataclasses.make_dataclass(
        settings.__name__,
        [(WEIGHT, WeightType, setting(DOC, 1.0, low=0.0))],
        bases=(settings,),
        namespace={"__post_init__": check, "__doc__": settings.__doc__},
        frozen=True,
    )
    with_weight.__module__ = settings.__module__
    return with_weight


def apart(settings: Any) -> tuple[Any, Points]:
    """(the settings that the source itself has, its weights by step)."""
    source_settings = type(settings).__mro__[1]
    values = {
        field.name: getattr(settings, field.name) for field in dataclasses.fields(source_settings)
    }
    return source_settings(**values), points(settings.weight)


def points(weight: WeightType) -> Points:
    """The weights by step. Raises UserError for wrong points."""
    if not isinstance(weight, tuple):
        return ((0.0, weight),)
    for point in weight:
        if len(point) != 2 or not all(map(math.isfinite, point)) or min(point) < 0:
            raise UserError(f"weight: {list(point)} is no [step, weight] with numbers from 0")
        if not point[0].is_integer() or point[0] > LAST_POINT:
            raise UserError(
                f"weight: {point[0]:g} is no step; give a whole number to {LAST_POINT:,}"
            )
    steps = [step for step, _ in weight]
    if not steps or any(later <= step for step, later in itertools.pairwise(steps)):
        raise UserError("weight: give [step, weight] points in the order of steps, each step once")
    return tuple((step, value) for step, value in weight)


class RowPlan:
    """How many rows of each source the batches so far have.

    After every step, every source has had its share of all rows so far, rounded up or down. Rows
    that remain go to the sources whose next row is due first: earliest deadline first meets all
    deadlines if that is possible at all, and here it is (Baruah et al., "Proportionate progress",
    10.1007/BF01940883).
    """

    def __init__(self, weights: Sequence[Points], batch_size: int) -> None:
        """Plans nothing yet. Raises UserError where all weights are 0 at some step."""
        self._weights, self._batch_size = weights, batch_size
        self._last_point = int(max(points[-1][0] for points in weights))
        corners = np.unique([step for points in weights for step, _ in points])
        empty = corners[~self._weights_at(corners).any(1)]
        if len(empty):
            raise UserError(
                f"config.data.sources: all weights are 0 at step {empty[0]:.0f}; raise one"
            )
        due = self.shares(np.arange(self._last_point)) * batch_size
        # f64[last point + 1, S]: rows that are due to each source before each step
        self._due = np.concatenate([np.zeros((1, len(weights))), np.cumsum(due, axis=0)])
        self._rate = self.shares(np.array([self._last_point]))[0] * batch_size
        self._rows = np.zeros(
            (1, len(weights)), np.int64
        )  # rows of each source before each planned step
        self._deadlines: dict[
            int, tuple[int, float]
        ] = {}  # by source: the deadline of its next row

    def last_shares(self) -> list[float]:
        """The share of each source after the last change of a weight."""
        return self.shares(np.array([self._last_point]))[0].tolist()

    def shares(self, steps: np.ndarray) -> np.ndarray:
        """The share of each source in the batches of these steps, f64[n, S]."""
        weights = self._weights_at(steps)
        return weights / weights.sum(1, keepdims=True)

    def rows_before(self, first: int, last: int) -> np.ndarray:
        """Rows of each source before each step from `first` to `last`, i64[last - first + 1, S]."""
        while len(self._rows) <= last:
            self._extend(max(BLOCK, len(self._rows)))
        return self._rows[first : last + 1]

    def _weights_at(self, steps: np.ndarray) -> np.ndarray:
        columns = [
            np.interp(
                steps,
                [step for step, _ in points_of_source],
                [weight for _, weight in points_of_source],
            )
            for points_of_source in self._weights
        ]
        return np.stack(columns, axis=1)

    def _extend(self, steps: int) -> None:
        """Plans `steps` more."""
        first, sources = len(self._rows), range(len(self._weights))
        if len(sources) == 1:
            more = np.arange(first, first + steps)[:, None] * self._batch_size
            self._rows = np.concatenate([self._rows, more])
            return
        due = self._due_before(np.arange(first, first + steps))
        floors, parts = np.floor(due).astype(np.int64).tolist(), (due % 1 > 0).tolist()
        rows, planned = self._rows[-1].tolist(), []
        for step, (floor, is_partial) in enumerate(zip(floors, parts), first):
            rows = list(map(max, rows, floor))
            missing = step * self._batch_size - sum(rows)
            if missing:
                waiting = [
                    # a source that is due no part of a further row comes last
                    (not is_partial[source], self._deadline(source, rows[source] + 1), source)
                    for source in sources
                    if rows[source] == floor[source]
                ]
                for _, _, source in sorted(waiting)[:missing]:
                    rows[source] += 1
            planned.append(rows)
        self._rows = np.concatenate([self._rows, np.array(planned, np.int64)])

    def _due_before(self, steps: np.ndarray) -> np.ndarray:
        """Rows that are due to each source before these steps, f64[n, S]."""
        beyond = np.maximum(steps - self._last_point, 0)[:, None]
        due = self._due[np.minimum(steps, self._last_point)] + beyond * self._rate
        rounded = np.round(due)  # 0.1 * 30 is 3 but for rounding
        return np.where(np.abs(due - rounded) < ROUNDING, rounded, due)

    def _deadline(self, source: int, row: int) -> float:
        """The step before which the source must have had so many rows."""
        cached_row, deadline = self._deadlines.get(source, (0, 0.0))
        if cached_row != row:
            due, rate = self._due[:, source], self._rate[source]
            if row <= due[-1]:
                deadline = float(np.searchsorted(due, row - ROUNDING))
            elif rate:
                deadline = float(self._last_point + math.ceil((row - ROUNDING - due[-1]) / rate))
            else:
                deadline = math.inf
            self._deadlines[source] = row, deadline
        return deadline


@functools.lru_cache(maxsize=16)
def row_plan(weights: tuple[Points, ...], batch_size: int) -> RowPlan:
    """The plan of a mixture; runs of one launch share it."""
    return RowPlan(weights, batch_size)
