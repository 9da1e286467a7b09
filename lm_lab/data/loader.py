"""Batches as a pure function of the step: the token store cut into windows, in an order that grain
gives.
"""

import dataclasses
from pathlib import Path
from typing import Literal, NamedTuple

import grain
import jax
import numpy as np

from lm_lab import registry
from lm_lab.data.records import RecordBatches, Records, TooLong, endless, record_batches
from lm_lab.schema import Chosen, module, setting
from lm_lab.types import Codec, Examples, Side, UserError

LONGEST = 2**24  # tokens of a window


@dataclasses.dataclass(frozen=True)
class Config:
    """The `data` section of a run's config."""

    source: Chosen = module("where the text comes from", registry.modules("data.sources"), "stdlib")
    tokenizer: Chosen = module("how text becomes ids", registry.modules("data.tokenizers"), "byte")
    vocabulary_file: str | None = setting(
        "what a tokenizer that learns has learnt before, as a run's directory keeps it; None: "
        "it learns from the text",
        None,
        names_file=True,
    )
    length: int = setting(
        "window L, in tokens; of records the longest text or target, its end too",
        128,
        low=1,
        high=LONGEST,
    )
    context_length: int | None = setting(
        "longest source of a pair, its end too; None: the length", None, low=1, high=LONGEST
    )
    too_long: TooLong = setting(
        "training records that do not fit; held-out ones are always refused", "refuse"
    )
    pack: bool = setting("pairs to train on that fit share a row, and do not see each other", False)
    holdout_fraction: float = setting(
        "the part of the text that is held out", 0.1, low=0.0001, high=0.9
    )
    split: Literal["documents", "tail"] = setting(
        "hold out whole documents (of a single one its end), or the end of the whole text",
        "documents",
    )
    isolate_documents: bool = setting(
        "documents that share a window do not see each other (segments)", False
    )


class Split(NamedTuple):
    """One side of the data: a stream of documents, each followed by end_of_document."""

    name: Side
    tokens: np.ndarray  # u8, u16 or u32 [tokens]; memory-mapped
    bytes_of: np.ndarray  # f32[vocab]: the UTF-8 bytes that each id stands for
    end_of_document: int
    isolate_documents: bool
    records: Records | None = None  # where each lies, if the tokens are no stream


class Dataset(NamedTuple):
    """The text of a run, tokenized and split."""

    vocab: int
    bytes_of: np.ndarray  # u16[vocab]
    tokenizer: Codec
    identity: str  # hex; equal identities are equal tokens and splits
    train: Split
    heldout: Split
    test: Split | None  # evaluated once, at the end of a run; None: the source has none
    tail: (
        bool  # whether what is held out is the end of the text, and not whole documents or records
    )
    folder: Path  # of the token store

    def texts(self, side: Side) -> Path:
        """JSON lines {"source", "target"} of a side that is not trained on, if it has pairs."""
        return self.folder / f"{side}.texts.jsonl"


def cut(
    config: Config, split: Split, *, window: int, stride: int, batch_size: int, seed: int
) -> "Batches | RecordBatches":
    """Shuffled batches of a side: windows of its stream, or its records as they are. Raises
    UserError.
    """
    if split.records is None:
        return batches(
            split, window=window, stride=stride, batch_size=batch_size, seed=seed, shuffle=True
        )
    training = split.name == "train"
    return record_batches(
        split.tokens,
        split.bytes_of,
        split.records,
        side=split.name,
        length=config.length,
        context_length=config.context_length or config.length,
        too_long=config.too_long if training else "refuse",
        pack=config.pack and training,
        batch_size=batch_size,
        seed=seed if training else None,
    )


def eval_set(heldout: "Batches | RecordBatches", most_batches: int) -> Examples:
    """What an evaluation reads [steps B ...]: some batches of a stream, of
    records each one once.
    """
    if isinstance(heldout, RecordBatches):
        return heldout.once()
    return heldout.chunk(0, min(most_batches, heldout.steps_per_epoch))


class Batches(NamedTuple):
    """Batches by step, without end: every window once an epoch, each epoch
    in an order of its own.
    """

    split: Split
    window: int
    stride: int
    windows: int  # in an epoch
    rows: int  # of a batch, on this host
    first_row: int
    batch_size: int
    order: grain.MapDataset  # record -> window

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; those of an unshuffled split's first epoch are its text in
        order.
        """
        return self.windows // self.batch_size

    def at(self, step: int) -> Examples:
        """The batch of a step: tokens i32[B S], bytes f32[B S], segments i32[B S] or None, on the
        host.
        """
        return jax.tree.map(lambda part: part[0], self.chunk(step, 1))

    def chunk(self, first_step: int, steps: int) -> Examples:
        """The batches of `steps` steps, stacked: [steps B S]. Row i is `at(first_step + i)`."""
        firsts = (
            step * self.batch_size + self.first_row
            for step in range(first_step, first_step + steps)
        )
        picked = np.array(
            [self.order[record] for first in firsts for record in range(first, first + self.rows)]
        )
        raw = np.lib.stride_tricks.sliding_window_view(self.split.tokens, self.window)[
            picked * self.stride
        ]
        tokens = raw.reshape(steps, self.rows, self.window).astype(np.int32)
        return Examples(tokens, self.split.bytes_of[tokens], self._segments(tokens))  # type: ignore[arg-type]

    def _segments(self, tokens: np.ndarray) -> np.ndarray | None:
        """1 in the document that a row begins in, 2 in the next ...; end_of_document belongs to
        what it ends.
        """
        if not self.split.isolate_documents:
            return None
        ends = tokens == self.split.end_of_document
        return 1 + np.cumsum(ends, axis=-1, dtype=np.int32) - ends


def batches(
    split: Split,
    *,
    window: int,
    batch_size: int,
    seed: int,
    shuffle: bool,
    stride: int | None = None,
    host_index: int = 0,
    host_count: int = 1,
) -> Batches:
    """Batches of `batch_size` windows of `window` tokens; this host gets its batch_size /
    host_count rows of each.

    Windows begin every `stride` tokens (default: window - 1, so that with causal windows of L + 1
    tokens every token but the first of the split is a target exactly once an epoch); the end that
    fills no window, fewer than `stride` tokens, is left out. Raises UserError when there are fewer
    windows than a batch has.
    """
    stride = max(window - 1, 1) if stride is None else stride
    windows = max(0, (len(split.tokens) - window) // stride + 1)
    if windows < batch_size:
        raise UserError(
            f"config.data.length: the {split.name} text has {len(split.tokens)} tokens, "
            f"{windows} windows of {window}, "
            f"and a batch needs {batch_size}; lower config.data.length or "
            "config.train.batch_size, or give more text"
        )
    if batch_size % host_count:
        raise UserError(
            f"config.train.batch_size: {batch_size} rows do not divide among {host_count} "
            "hosts; change it"
        )
    rows = batch_size // host_count
    order = endless(windows, seed if shuffle else None)
    return Batches(split, window, stride, windows, rows, host_index * rows, batch_size, order)
