"""Batches of several sources by weight, as a pure function of the step: which rows of a batch come
from which source follows from the step alone. One source is a mixture of one.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from lm_lab.data.loader import Batches
from lm_lab.data.records import RecordBatches
from lm_lab.types import Examples, UserError

BLOCK = 1024  # steps that are planned at once
ROUNDING = 1e-6  # of sums of shares, in rows
LAST_POINT = 10_000_000  # the latest step at which a weight may change

Points = tuple[tuple[int, float], ...]
"""Weights at steps, in order: linear between them, and as at the nearest point outside."""


class Mixed(NamedTuple):
    """Batches of a mixture, without end: every source in an order of its own, epoch after epoch."""

    parts: tuple[Batches | RecordBatches, ...]
    plan: "RowPlan"
    batch_size: int

    def at(self, step: int) -> Examples:
        """The batch of a step, on the host [B ...]."""
        return jax.tree.map(lambda leaf: leaf[0], self.chunk(step, 1))

    def chunk(self, first_step: int, steps: int) -> Examples:
        """The batches of `steps` steps, stacked [steps B ...]; a batch has the rows of the first
        source first.
        """
        before = self.plan.rows_before(first_step, first_step + steps)
        counts = np.diff(before, axis=0)
        owner = np.concatenate([np.repeat(np.arange(len(self.parts)), row) for row in counts])
        found: Examples | None = None
        for number, part in enumerate(self.parts):
            first, last = before[0, number], before[-1, number]
            if first == last:
                continue
            rows, mine = part.rows(np.arange(first, last)), owner == number
            if mine.all():
                found = rows
                break
            found = found or jax.tree.map(functools.partial(_room, len(owner)), rows)
            jax.tree.map(lambda room, own, mine=mine: room.__setitem__(mine, own), found, rows)
        return jax.tree.map(lambda leaf: leaf.reshape(steps, -1, *leaf.shape[1:]), found)

    def epochs(self, steps: int) -> list[float]:
        """How often the rows of each source are read in the first `steps` steps."""
        rows = self.plan.rows_before(steps, steps)[0]
        return [float(count) / part.epoch_rows for count, part in zip(rows, self.parts)]


def _room(rows: int, leaf: np.ndarray) -> np.ndarray:
    return np.empty((rows, *leaf.shape[1:]), leaf.dtype)


class RowPlan:
    """How many rows of each source the batches so far have.

    After every step, every source has had its share of all rows so far, rounded up or down. Where
    rows remain to be given, they go to the sources whose next row is due first: earliest deadline
    first meets all deadlines if that can be done at all, and here it can (Baruah et al.,
    "Proportionate progress", 10.1007/BF01940883).
    """

    def __init__(self, weights: Sequence[Points], batch_size: int) -> None:
        """Plans nothing yet. Raises UserError where all weights are 0 at some step."""
        self._weights, self._batch_size = weights, batch_size
        self._last_point = max(points[-1][0] for points in weights)
        corners = np.unique([step for points in weights for step, _ in points])
        empty = corners[~self._weights_at(corners).any(1)]
        if len(empty):
            raise UserError(
                f"config.data.sources: all weights are 0 at step {empty[0]}; raise one"
            )
        due = self.shares(np.arange(self._last_point)) * batch_size
        # f64[last point + 1, S]: rows that are due to each source before each step
        self._due = np.concatenate([np.zeros((1, len(weights))), np.cumsum(due, axis=0)])
        self._rate = self.shares(np.array([self._last_point]))[0] * batch_size
        self._rows = np.zeros((1, len(weights)), np.int64)  # before each step that is planned
        self._deadlines: dict[int, tuple[int, float]] = {}  # by source: of its next row

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
        columns = [np.interp(steps, *zip(*points)) for points in self._weights]
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
        for step, (least, begun) in enumerate(zip(floors, parts), first):
            rows = list(map(max, rows, least))
            missing = step * self._batch_size - sum(rows)
            if missing:
                waiting = [
                    # a source that is due no part of a row comes last
                    (not begun[each], self._deadline(each, rows[each] + 1), each)
                    for each in sources
                    if rows[each] == least[each]
                ]
                for _, _, each in sorted(waiting)[:missing]:
                    rows[each] += 1
            planned.append(rows)
        self._rows = np.concatenate([self._rows, np.array(planned, np.int64)])

    def _due_before(self, steps: np.ndarray) -> np.ndarray:
        """Rows that are due to each source before these steps, f64[n, S]."""
        beyond = np.maximum(steps - self._last_point, 0)[:, None]
        due = self._due[np.minimum(steps, self._last_point)] + beyond * self._rate
        whole = np.round(due)  # 0.1 * 30 is 3 but for rounding
        return np.where(np.abs(due - whole) < ROUNDING, whole, due)

    def _deadline(self, source: int, row: int) -> float:
        """The step before which the source must have had so many rows."""
        known, deadline = self._deadlines.get(source, (0, 0.0))
        if known != row:
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


def mix(
    parts: Sequence[Batches | RecordBatches], weights: Sequence[Points], batch_size: int
) -> Mixed:
    """The batches of a mixture. Raises UserError where all weights are 0 at some step."""
    return Mixed(tuple(parts), row_plan(tuple(weights), batch_size), batch_size)


def together(sums: Sequence[dict], shares: Sequence[float]) -> dict[str, float]:
    """The sums of a mixture, from those of each source: a source counts by its share of targets."""
    used = [(own, share) for own, share in zip(sums, shares) if share]
    total = sum(float(own["weight"]) for own, _ in used)
    names = dict.fromkeys(itertools.chain.from_iterable(own for own, _ in used))
    return {
        name: sum(
            share * total * float(own[name]) / float(own["weight"]) if own["weight"] else np.nan
            for own, share in used
        )
        for name in names
    }
