"""Batches as a pure function of the step: the token store cut into windows, in an order that grain gives."""

import dataclasses
from pathlib import Path
from typing import Any, Literal, NamedTuple

import grain
import numpy as np

from lm_lab import registry
from lm_lab.data.store import build
from lm_lab.data.tokenizer import Tokenizer
from lm_lab.schema import setting
from lm_lab.types import Examples, UserError


@dataclasses.dataclass(frozen=True)
class Config:
    """The `data` section of a run's config, beside the fields of the source and of the tokenizer."""

    source: str = setting("where the text comes from: a module of lm_lab.data.sources", "stdlib")
    tokenizer: str = setting("how text becomes ids: a module of lm_lab.data.tokenizers", "byte")
    length: int = setting("window L, in tokens", 128, low=1)
    holdout_fraction: float = setting("the part of the text that is held out", 0.1, low=0.0001, high=0.9)
    split: Literal["documents", "tail"] = setting("hold out whole documents, or the end of the whole text", "documents")
    isolate_documents: bool = setting("documents that share a window do not see each other (segments)", False)


class Split(NamedTuple):
    """One side of the data: a stream of documents, each followed by end_of_document."""

    name: str
    tokens: np.ndarray  # u8, u16 or u32 [tokens]; memory-mapped
    bytes_of: np.ndarray  # f32[vocab]: the UTF-8 bytes that each id stands for
    end_of_document: int
    isolate_documents: bool


class Dataset(NamedTuple):
    """The text of a run, tokenized and split."""

    vocab: int
    bytes_of: np.ndarray  # u16[vocab]
    tokenizer: Tokenizer
    identity: str  # hex; equal identities are equal tokens and splits
    train: Split
    heldout: Split


def open_dataset(config: Config, source_config: Any, tokenizer_config: Any, directory: Path | None = None) -> Dataset:
    """Open the token store of a config, building it first if need be (in `directory`, default: the user's cache).

    Raises UserError as lm_lab.data.store.build does.
    """
    maker = registry.find("data.tokenizers", config.tokenizer, "config.data.tokenizer")
    tokenizer: Tokenizer = maker.make(tokenizer_config)
    store = build(
        config.source, source_config, tokenizer, directory, split=config.split, holdout_fraction=config.holdout_fraction
    )
    table = store.bytes_of.astype(np.float32)
    train, heldout = (
        Split(name, tokens, table, tokenizer.end_of_document, config.isolate_documents)
        for name, tokens in (("train", store.train), ("heldout", store.heldout))
    )
    return Dataset(tokenizer.vocab, store.bytes_of, tokenizer, store.key, train, heldout)


class Batches(NamedTuple):
    """Batches by step, without end: every window once an epoch, each epoch in an order of its own."""

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
        """Whole batches in an epoch; those of an unshuffled split's first epoch are its text in order."""
        return self.windows // self.batch_size

    def at(self, step: int) -> Examples:
        """The batch of a step: tokens i32[B S], bytes f32[B S], segments i32[B S] or None, on the host."""
        return Examples(*(None if part is None else part[0] for part in self.chunk(step, 1)))

    def chunk(self, first_step: int, steps: int) -> Examples:
        """The batches of `steps` steps, stacked: [steps B S]. Row i is `at(first_step + i)`."""
        firsts = (step * self.batch_size + self.first_row for step in range(first_step, first_step + steps))
        picked = np.array([self.order[record] for first in firsts for record in range(first, first + self.rows)])
        raw = np.lib.stride_tricks.sliding_window_view(self.split.tokens, self.window)[picked * self.stride]
        tokens = raw.reshape(steps, self.rows, self.window).astype(np.int32)
        return Examples(tokens, self.split.bytes_of[tokens], self._segments(tokens))  # type: ignore[arg-type]

    def _segments(self, tokens: np.ndarray) -> np.ndarray | None:
        """1 in the document that a row begins in, 2 in the next ...; end_of_document belongs to what it ends."""
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
    """Batches of `batch_size` windows of `window` tokens; this host gets its batch_size / host_count rows of each.

    Windows begin every `stride` tokens (default: window - 1, so that with causal windows of L + 1 tokens every token
    but the first of the split is a target exactly once an epoch); the end that fills no window, fewer than `stride`
    tokens, is left out. Raises UserError when there are fewer windows than a batch has.
    """
    stride = max(window - 1, 1) if stride is None else stride
    windows = max(0, (len(split.tokens) - window) // stride + 1)
    if windows < batch_size:
        raise UserError(
            f"config.data.length: the {split.name} text has {len(split.tokens)} tokens, {windows} windows of {window}, "
            f"and a batch needs {batch_size}; lower config.data.length or config.train.batch_size, or give more text"
        )
    if batch_size % host_count:
        raise UserError(f"config.train.batch_size: {batch_size} rows do not divide among {host_count} hosts; change it")
    rows = batch_size // host_count
    order = grain.MapDataset.range(windows)
    if shuffle:
        # grain seeds epoch e with seed + e: neighbouring seeds would see each other's epochs if they were not mixed.
        order = order.shuffle(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    return Batches(split, window, stride, windows, rows, host_index * rows, batch_size, order.repeat())
