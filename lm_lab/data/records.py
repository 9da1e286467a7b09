"""Batches of records, as a pure function of the step: pairs of texts, or texts with labels, padded to one length."""

import sys
from typing import Literal, NamedTuple

import grain
import jax
import numpy as np

from lm_lab.types import Examples, UserError

TooLong = Literal["refuse", "drop"]


class Records(NamedTuple):
    """Where the records of a side lie in its tokens. end_of_document ends the text, and the target too."""

    index: (
        np.ndarray
    )  # i64[records, 3]: the first token, the first of the target (the end where there is none), the end
    labels: np.ndarray | None  # f32[records]


class RecordBatches(NamedTuple):
    """Batches by step, without end: every record that fits once an epoch, each epoch in an order of its own."""

    tokens: np.ndarray  # of the side
    bytes_of: np.ndarray  # f32[vocab]
    records: Records
    kept: np.ndarray  # i64[n]: the numbers of the records that fit
    length: int  # of a row of text or target
    context_length: int | None  # of a row of sources; None where no record has a target
    batch_size: int
    order: grain.MapDataset

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return len(self.kept) // self.batch_size

    def at(self, step: int) -> Examples:
        """The batch of a step, on the host: tokens, bytes and segments [B S], and context [B M] or labels [B]."""
        return jax.tree.map(lambda part: part[0], self.chunk(step, 1))

    def chunk(self, first_step: int, steps: int) -> Examples:
        """The batches of `steps` steps, stacked: [steps B ...]. Row i is `at(first_step + i)`."""
        first = first_step * self.batch_size
        picked = np.array([self.order[place] for place in range(first, first + steps * self.batch_size)])
        return self._gather(self.kept[picked].reshape(steps, self.batch_size))

    def once(self) -> Examples:
        """Every record that fits once, in their order, [steps B ...]; the last batch is filled up with empty rows."""
        steps = -(-len(self.kept) // self.batch_size)
        padded = np.full(steps * self.batch_size, -1)
        padded[: len(self.kept)] = self.kept
        return self._gather(padded.reshape(steps, self.batch_size))

    def _gather(self, numbers: np.ndarray) -> Examples:
        """The records of these numbers [K B], -1 for none."""
        index = np.where(numbers[..., None] < 0, 0, self.records.index[numbers])
        first, middle, end = np.moveaxis(index, -1, 0)
        labels = self.records.labels
        if self.context_length is None:
            text, segments = self._rows(first, end, self.length)
            chosen = None if labels is None else np.where(numbers < 0, 0, labels[numbers]).astype(np.float32)
            return Examples(text, self.bytes_of[text] * segments, segments, labels=chosen)  # type: ignore[arg-type]
        context, context_segments = self._rows(first, middle, self.context_length)
        target, segments = self._rows(middle, end, self.length)
        return Examples(target, self.bytes_of[target] * segments, segments, context, context_segments)  # type: ignore[arg-type]

    def _rows(self, first: np.ndarray, end: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """(tokens i32[K B length], 0 where nothing is; segments, 1 and 0) of the tokens from first to end [K B]."""
        places = first[..., None] + np.arange(length)
        there = places < end[..., None]
        tokens = np.where(there, self.tokens[np.where(there, places, 0)], 0)
        return tokens.astype(np.int32), there.astype(np.int32)


def record_batches(
    tokens: np.ndarray,
    bytes_of: np.ndarray,
    records: Records,
    *,
    side: str,
    length: int,
    context_length: int,
    too_long: TooLong,
    batch_size: int,
    seed: int | None,
) -> RecordBatches:
    """Batches of the records of a side, shuffled by a seed. Raises UserError for records that do not fit, and are not
    to be dropped (those that are dropped are counted on stderr), and where fewer are left than a batch has."""
    first, middle, end = records.index.T
    pairs = bool((middle < end).any())
    sizes = {"length": end - middle, "context_length": middle - first} if pairs else {"length": end - first}
    allowed = {"length": length, "context_length": context_length}
    fits = np.ones(len(first), bool)
    for name, found in sizes.items():
        over = int((found > allowed[name]).sum())
        if over and too_long == "refuse":
            dropping = " or set config.data.too_long='drop'" if side == "train" else ""
            raise UserError(
                f"config.data.{name}: {over} of {len(first)} {side} records have more than {allowed[name]} tokens, the "
                f"longest {found.max()}; raise it{dropping}"
            )
        fits &= found <= allowed[name]
    kept = np.flatnonzero(fits)
    if len(kept) < len(fits):
        left_out = len(fits) - len(kept)
        print(f"{left_out} of {len(fits)} {side} records are too long, and left out", file=sys.stderr, flush=True)
    if len(kept) < batch_size and seed is not None:
        raise UserError(
            f"config.train.batch_size: a batch needs {batch_size} records, and the {side} side has {len(kept)} that "
            "fit; lower it, or give more data"
        )
    context = context_length if pairs else None
    order = endless(len(kept), seed)
    return RecordBatches(tokens, bytes_of, records, kept, length, context, batch_size, order)


def endless(count: int, seed: int | None) -> grain.MapDataset:
    """The numbers below `count`, epoch after epoch, each shuffled anew by the seed; in their order without one."""
    order = grain.MapDataset.range(count)
    if seed is not None:
        # grain seeds epoch e with seed + e: neighbouring seeds would see each other's epochs if they were not mixed.
        order = order.shuffle(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    return order.repeat()
