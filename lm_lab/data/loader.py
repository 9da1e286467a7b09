"""Batches as a pure function of the step: the token store cut into windows, in another order each
epoch.
"""

import dataclasses
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np

from lm_lab import registry
from lm_lab.data.contiguous import ContiguousBatches, contiguous_batches, own_rows
from lm_lab.data.faults import SOURCE
from lm_lab.data.gathering import in_order, places_of, sized, windows, windows_of_all
from lm_lab.data.orders import Order, endless
from lm_lab.data.packing import PackedBatches, packed_batches
from lm_lab.data.records import RecordBatches, Records, TooLong, record_batches
from lm_lab.data.selection import DUPLICATES, KEEP, Duplicates, Filter
from lm_lab.data.weights import Points, apart, points, weighted
from lm_lab.schema import Chosen, choice, module, modules_by_label, section, setting
from lm_lab.types import Codec, Examples, Side, UserError

LONGEST = 2**24  # tokens of a window
DEFAULT_SOURCE = "stdlib"


def key(label: str) -> str:
    """The key in a config of the source with this label; the label of a single source is ""."""
    return f"{SOURCE}s.{label}" if label else SOURCE


class Member(NamedTuple):
    """A source, and its weight by step."""

    source: Chosen
    points: Points


@dataclasses.dataclass(frozen=True)
class Config:
    """The `data` section of a run's config."""

    source: Chosen = module(
        "where the text comes from", registry.modules("data.sources"), DEFAULT_SOURCE
    )
    sources: tuple[tuple[str, Chosen], ...] = modules_by_label(
        "a mixture in the place of one source: sources by labels of your own",
        weighted(registry.modules("data.sources")),
    )
    tokenizer: Chosen = module("how text becomes ids", registry.modules("data.tokenizers"), "byte")
    vocabulary_file: str | None = setting(
        "what a tokenizer that learns has learnt before, as a run's directory keeps it; None: "
        "it learns from the text",
        None,
        names_file=True,
    )
    length: int = setting(
        "window L, in tokens; of records the longest text or target, its end too; of preferences "
        "the longest prompt twice, with both answers",
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
    pack: bool = setting(
        "texts with labels, pairs, or preferences to train on that fit share a row, and do not "
        "see each other",
        False,
    )
    holdout_fraction: float = setting(
        "the part of the text that is held out", 0.1, low=0.0001, high=0.9
    )
    split: Literal["documents", "tail"] = setting(
        "hold out whole documents (of a single one its end), or the end of the whole text",
        "documents",
    )
    filter: Filter = section("which documents are read", Filter)
    duplicates: Duplicates = choice(
        "copies among the training documents, and of held-out ones and the test", DUPLICATES, KEEP
    )
    train_documents: int | None = setting(
        "train on so many documents of each source, chosen by a hash of their text (fewer are "
        "among more); None: on all",
        None,
        low=1,
    )
    isolate_documents: bool = setting(
        "documents that share a window do not see each other (segments)", False
    )
    packing: Literal["cut", "fit"] = setting(
        "how documents of a stream fill the windows that are trained on: one after another, and "
        "cut; or best fit: none that fits into a window is cut, and none sees another (2404.10830)",
        "cut",
    )

    def __post_init__(self) -> None:
        """Checks that the sources are named once."""
        if self.sources and self.source.name != DEFAULT_SOURCE:
            raise UserError(
                f"source {self.source.name!r} and sources are both given; leave one out (the "
                f"source that stands for none is {DEFAULT_SOURCE!r})"
            )

    @property
    def segmented(self) -> bool:
        """Whether documents that share a window are segments of it."""
        return self.isolate_documents or self.packing == "fit"

    @property
    def members(self) -> dict[str, Member]:
        """The sources by label, in the order of labels; the only one has the label ""."""
        if not self.sources:
            return {"": Member(self.source, points(1.0))}
        apart_by_label = {
            label: (name, *apart(settings_with_weight))
            for label, (name, settings_with_weight) in self.sources
        }
        return {
            label: Member(Chosen(name, settings), weights)
            for label, (name, settings, weights) in sorted(apart_by_label.items())
        }


class Split(NamedTuple):
    """One split of the data: a stream of documents, each followed by end_of_document."""

    name: Side
    tokens: np.ndarray  # u8, u16 or u32 [tokens]; memory-mapped
    bytes_of: np.ndarray  # f32[vocab]: the UTF-8 bytes that each id stands for
    end_of_document: int
    isolate_documents: bool
    records: Records | None = None  # where each record lies; None: the tokens are a stream
    label: str = ""  # the label of the source in a mixture
    folder: Path | None = None  # of the token store

    @property
    def key(self) -> str:
        """The key of the source, for errors."""
        return key(self.label)


class Sides(NamedTuple):
    """The splits of a source's tokenized text."""

    points: Points  # its weight
    train: Split
    heldout: Split
    test: Split | None  # evaluated once, at the end of a run; None: the source has none
    tail: bool  # whether the end of the text is held out, rather than whole documents or records
    leaked: int  # training documents that are held out too, or in the test; 0 if they are left out
    folder: Path  # of the token store
    counted: float = 1.0  # bytes that the tokenizer counts for a byte of the text

    def texts(self, side: Side) -> Path:
        """The file of JSON lines {"source", "target"} of the held-out or test split, if it has
        pairs.
        """
        return self.folder / f"{side}.texts.jsonl"

    @property
    def splits(self) -> list[Split]:
        """The splits that the source has."""
        return [side for side in (self.train, self.heldout, self.test) if side is not None]


class Dataset(NamedTuple):
    """The text of a run, by source."""

    vocab: int
    bytes_of: np.ndarray  # u16[vocab]
    tokenizer: Codec
    identity: str  # hex; equal identities are equal tokens and splits
    sources: dict[str, Sides]  # by label; the label of a single source is ""

    @property
    def only(self) -> Sides:
        """The text of the only source. Raises UserError for a mixture."""
        if len(self.sources) > 1:
            named = ", ".join(map(repr, self.sources))
            raise UserError(f"config.data.sources: several, by name in dataset.sources: {named}")
        return next(iter(self.sources.values()))

    @property
    def train(self) -> Split:
        """The training split of the only source."""
        return self.only.train

    @property
    def heldout(self) -> Split:
        """The held-out split of the only source."""
        return self.only.heldout

    @property
    def test(self) -> Split | None:
        """The test split of the only source, evaluated once at the end of a run."""
        return self.only.test


def cut(
    config: Config,
    split: Split,
    *,
    window: int,
    stride: int,
    batch_size: int,
    seed: int,
    contiguous: bool = False,
) -> "AnyBatches":
    """Batches of a split: windows of its stream, shuffled, or its records as they are. With
    `contiguous` each row reads on from batch to batch. Raises UserError.
    """
    training = split.name == "train"
    # sources of a mixture may have fewer rows than a batch; the test is read to its last token
    least = 1 if split.name == "test" or (training and split.label) else batch_size
    if contiguous:
        return _contiguous(split, window, stride, batch_size, least)
    if split.records is None and training and config.packing == "fit":
        assert split.folder is not None
        return packed_batches(
            split.tokens,
            split.bytes_of,
            split.end_of_document,
            store=split.folder,
            window=window,
            stride=stride,
            batch_size=batch_size,
            least=least,
            seed=seed,
        )
    if split.records is None:
        return batches(
            split,
            window=window,
            stride=stride,
            batch_size=batch_size,
            seed=seed,
            shuffle=True,
            least=least,
        )
    if config.packing != "cut":
        raise UserError(
            "config.data.packing packs the documents of a stream, and the source gives records; "
            "leave it out (config.data.pack packs those)"
        )
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
        least=least,
    )


def _contiguous(
    split: Split, window: int, stride: int, batch_size: int, least: int
) -> ContiguousBatches:
    return contiguous_batches(
        split.tokens,
        split.bytes_of,
        split.end_of_document if split.isolate_documents else None,
        window=window,
        stride=stride,
        windows=_windows(split, window, stride, least),
        batch_size=batch_size,
    )


def eval_set(heldout: "AnyBatches", most_batches: int) -> Examples:
    """The batches of an evaluation [steps B ...]: the first ones of a stream, or every record
    once.
    """
    if isinstance(heldout, RecordBatches):
        rows = -(-heldout.every_row() // heldout.batch_size) * heldout.batch_size
        return batched(heldout.once(0, rows), heldout.batch_size)
    return heldout.chunk(0, min(most_batches, heldout.steps_per_epoch))


def batched(rows: Examples, batch_size: int) -> Examples:
    """Rows [n ...] as batches [n / batch_size, batch_size ...]."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, batch_size, *leaf.shape[1:]), rows)


class Batches(NamedTuple):
    """Batches by step, without end: every window once an epoch, in another order each epoch."""

    split: Split
    window: int
    stride: int
    epoch_rows: int  # windows in an epoch
    own_rows: int  # of a batch, on this host
    first_row: int
    batch_size: int
    order: Order  # record -> window

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; the first epoch of an unshuffled split is its text in
        order.
        """
        return self.epoch_rows // self.batch_size

    def at(self, step: int) -> Examples:
        """The batch of a step: tokens i32[B S], bytes f32[B S], segments i32[B S] or None, on the
        host.
        """
        return jax.tree.map(lambda part: part[0], self.chunk(step, 1))

    def chunk(self, first_step: int, steps: int) -> Examples:
        """The batches of `steps` steps, stacked: [steps B S]. Row i is `at(first_step + i)`."""
        places = places_of(first_step, steps, self.batch_size, self.first_row, self.own_rows)
        rows = sized(self.rows(places.ravel()), self.split.bytes_of)
        return jax.tree.map(lambda leaf: leaf.reshape(*places.shape, *leaf.shape[1:]), rows)

    def rows(self, places: np.ndarray) -> Examples:
        """The windows at these places [n] of the endless order, to train on: [n S], without
        bytes.
        """
        numbers = self.order.at(places)
        tokens = windows(self.split.tokens, numbers * self.stride, self.window)
        return Examples(tokens, None, self._segments(tokens))  # type: ignore[arg-type]

    def every_row(self) -> int:
        """How many windows the text has, with a last one that it may not fill."""
        return windows_of_all(len(self.split.tokens), self.window, self.stride)

    def once(self, first: int, rows: int) -> Examples:
        """`rows` windows in the order of the text, from window `first` on [rows S]; segment 0 is
        beyond the end of the text.
        """
        starts = (first + np.arange(rows)) * self.stride
        tokens, is_token = in_order(self.split.tokens, starts, self.window)
        segments = self._segments(tokens)
        segments = np.where(is_token, 1 if segments is None else segments, 0).astype(np.int32)
        return sized(Examples(tokens, None, segments), self.split.bytes_of)  # type: ignore[arg-type]

    def _segments(self, tokens: np.ndarray) -> np.ndarray | None:
        """Segment 1 for the document in which a row begins, 2 for the next, ...; end_of_document
        belongs to the document that it ends.
        """
        if not self.split.isolate_documents:
            return None
        segments = np.ones(tokens.shape, np.int32)
        np.equal(tokens[:, :-1], self.split.end_of_document, out=segments[:, 1:])
        return np.cumsum(segments, axis=1, out=segments)


def batches(
    split: Split,
    *,
    window: int,
    batch_size: int,
    seed: int,
    shuffle: bool,
    stride: int | None = None,
    least: int | None = None,
    host_index: int = 0,
    host_count: int = 1,
) -> Batches:
    """Batches of `batch_size` windows of `window` tokens; this host gets its batch_size /
    host_count rows of each.

    Windows begin every `stride` tokens (default: window - 1, so that with causal windows of L + 1
    tokens every token but the first of the split is a target exactly once an epoch); the end that
    fills no window, fewer than `stride` tokens, is left out. Raises UserError when there are fewer
    windows than `least` (default: those of a batch).
    """
    stride = max(window - 1, 1) if stride is None else stride
    windows = _windows(split, window, stride, batch_size if least is None else least)
    rows = own_rows(batch_size, host_count)
    order = endless(windows, seed if shuffle else None)
    return Batches(split, window, stride, windows, rows, host_index * rows, batch_size, order)


def _windows(split: Split, window: int, stride: int, least: int) -> int:
    """How many windows a side's stream fills. Raises UserError for fewer than `least`."""
    windows = max(0, (len(split.tokens) - window) // stride + 1)
    if windows < least and split.name != "test":
        whose = f" of {split.key}" if split.label else ""
        raise UserError(
            f"config.data.length: the {split.name} text{whose} has {len(split.tokens)} tokens, "
            f"{windows} windows of {window}, "
            f"and a batch needs {least}; lower config.data.length or "
            "config.train.batch_size, or give more text"
        )
    return windows


AnyBatches = Batches | RecordBatches | PackedBatches | ContiguousBatches
