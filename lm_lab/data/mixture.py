"""Batches of several sources by weight, as a pure function of the step: which rows of a batch come
from which source follows from the step alone. One source is a mixture of one.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from lm_lab.data.loader import AnyBatches
from lm_lab.data.weights import Points, RowPlan, row_plan
from lm_lab.types import Examples


class Mixed(NamedTuple):
    """Batches of a mixture, without end: every source in its own order, epoch after epoch."""

    parts: tuple[AnyBatches, ...]
    plan: RowPlan
    batch_size: int

    def at(self, step: int) -> Examples:
        """The batch of a step to train on, on the host [B ...], without bytes."""
        return jax.tree.map(lambda leaf: leaf[0], self.chunk(step, 1))

    def chunk(self, first_step: int, steps: int, positions: np.ndarray | None = None) -> Examples:
        """The batches of `steps` steps to train on, stacked [steps B ...], without bytes; in a
        batch the rows of the first source come first. Given positions in a batch, only their rows
        are read, [steps positions ...].
        """
        if positions is None:
            positions = np.arange(self.batch_size)
        if len(self.parts) == 1:  # what follows would give the same, slower
            places = np.arange(first_step, first_step + steps)[:, None] * self.batch_size
            examples = self.parts[0].rows((places + positions).ravel())
        else:
            examples = self._mixed(first_step, steps, positions)
        return jax.tree.map(lambda leaf: leaf.reshape(steps, -1, *leaf.shape[1:]), examples)

    def _mixed(self, first_step: int, steps: int, positions: np.ndarray) -> Examples:
        """The rows at these positions of the batches of steps [steps * positions ...]."""
        before = self.plan.rows_before(first_step, first_step + steps)
        ends = np.diff(before, axis=0).cumsum(1)  # in a batch, of the rows of each source
        owner = np.zeros((steps, len(positions)), np.int64)
        for end in ends.T[:-1]:
            owner += positions >= end[:, None]
        # a source has given before[step, source] rows, and its rows begin behind those before it
        begins = before[:-1] - np.pad(ends, ((0, 0), (1, 0)))[:, :-1]
        places = np.take_along_axis(begins, owner, 1) + positions
        read = {
            number: self.parts[number].rows(places[owner == number])
            for number in np.unique(owner).tolist()
        }
        return _merged(read, owner.ravel())

    def epochs(self, steps: int) -> list[float]:
        """How often the rows of each source are read in the first `steps` steps."""
        rows = self.plan.rows_before(steps, steps)[0]
        return [float(count) / part.epoch_rows for count, part in zip(rows, self.parts)]


def _merged(read: Mapping[int, Examples], owner: np.ndarray) -> Examples:
    """The rows of all sources [n ...], given those that were read of each source by its number,
    and the number of the source of each row [n].
    """
    if len(read) == 1:
        return next(iter(read.values()))
    places = {number: owner == number for number in read}

    def merge(*leaves: np.ndarray) -> np.ndarray:
        rows = np.empty((len(owner), *leaves[0].shape[1:]), leaves[0].dtype)
        for is_of_source, leaf in zip(places.values(), leaves):
            rows[is_of_source] = leaf
        return rows

    return jax.tree.map(merge, *read.values())


def mix(parts: Sequence[AnyBatches], weights: Sequence[Points], batch_size: int) -> Mixed:
    """The batches of a mixture. Raises UserError where all weights are 0 at some step."""
    return Mixed(tuple(parts), row_plan(tuple(weights), batch_size), batch_size)


def together(sums: Sequence[Mapping[str, Any]], shares: Sequence[float]) -> dict[str, float]:
    """The sums of a mixture, from those of each source, weighted by its share of targets."""
    used = [(source_sums, share) for source_sums, share in zip(sums, shares) if share]
    total = sum(float(source_sums["weight"]) for source_sums, _ in used)
    names = dict.fromkeys(itertools.chain.from_iterable(source_sums for source_sums, _ in used))
    return {
        name: sum(
            share * total * float(source_sums[name]) / float(source_sums["weight"])
            if source_sums["weight"]
            else np.nan
            for source_sums, share in used
        )
        for name in names
    }
