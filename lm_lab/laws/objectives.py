"""The laws of an objective, tried on four rows: a whole one, one of documents, one that ends in
padding, and one of padding alone.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lm_lab.contracts import ModelInfo, Objective
from lm_lab.laws import TOLERANCE, distance, expect, tiny
from lm_lab.laws.settings import program_text, settings
from lm_lab.plain import plain
from lm_lab.types import Batch, Examples, ObjectiveFunctions, PyTree, Sums, Vocabulary

SIZE, LENGTH, CONTEXT, ROWS = 40, 24, 11, 4
VOCABULARY = Vocabulary(
    SIZE, SIZE - 1, (np.arange(SIZE) % 3).astype(np.uint8), np.arange(SIZE) % 7 == 0
)


@dataclasses.dataclass(frozen=True)
class Subject:
    """An objective with its settings. Its loss is compiled once for all laws."""

    objective: Objective
    config: Any

    @cached_property
    def functions(self) -> ObjectiveFunctions:
        """Its two functions, for windows of 24 tokens."""
        return self.objective.make(self.config, LENGTH, VOCABULARY)

    @cached_property
    def examples(self) -> Examples:
        """Random rows in the form that it consumes."""
        form = self.objective.consumes
        window = self.objective.window(self.config, LENGTH)[0] if form == "stream" else LENGTH
        order, random = np.arange(window), np.random.default_rng(0)
        two = np.where(order < 9, 1, 2) if form == "stream" else order < window - 3
        segments = np.stack([order >= 0, two, order < 13, order < 0]).astype(np.int32)
        if form == "preferences":  # two answers in each row
            segments += segments * (order > 5)
        tokens = random.integers(0, SIZE - 1, (ROWS, window)).astype(np.int32)
        if form == "preferences":
            tokens[:, [2, 8]] = VOCABULARY.end_of_document  # of the prompt, before either answer
        examples = Examples(
            jnp.asarray(tokens), jnp.asarray(tokens % 4, jnp.float32), jnp.asarray(segments)
        )
        if form == "labelled":
            return examples._replace(labels=jnp.arange(ROWS, dtype=jnp.float32) % 2)
        if form == "preferences":
            labels = jnp.tile(jnp.array([1.0, 0.0]), (ROWS, 1))
            compares = self.objective.reference is not None
            return examples._replace(labels=labels, reference=-9 * labels if compares else None)
        if form == "stream":
            return examples
        context = random.integers(0, SIZE - 1, (ROWS, CONTEXT)).astype(np.int32)
        real = (np.arange(CONTEXT) < np.asarray([[CONTEXT], [4], [7], [0]])).astype(np.int32)
        return examples._replace(context=jnp.asarray(context), context_segments=jnp.asarray(real))

    @cached_property
    def batch(self) -> Batch:
        """The batch that `prepare` makes of the rows."""
        return self.prepare(jax.random.key(1), self.examples)

    @cached_property
    def logits(self) -> Array:
        """Random logits in the shape that a model gives."""
        return jax.random.normal(jax.random.key(2), self._logits_shape(self.batch))

    def _logits_shape(self, batch: Batch) -> tuple[int, ...]:
        if self.objective.head is not None:
            return (*batch.targets.shape, self.objective.head(self.config).outputs)
        if batch.inputs.context is not None and batch.inputs.context.ndim == 3:
            return batch.inputs.context.shape  # scores of candidates
        specials = self.objective.special_ids(self.config, LENGTH, VOCABULARY)
        return (*batch.targets.shape, SIZE + specials)

    def effect(self, config: Any) -> object:
        """Everything that such settings decide: the programs of `prepare` and `loss`, their demands
        on model and data, and the metrics.
        """
        other, kind = subject(self.objective, plain(config)), self.objective

        def sums(key: Array, examples: Examples) -> Sums:
            batch = other.functions.prepare(key, examples)
            return other.functions.loss(jnp.zeros(other._logits_shape(batch)), batch)

        demands = (
            kind.window(other.config, LENGTH),
            kind.special_ids(other.config, LENGTH, VOCABULARY),
            kind.model_length(other.config, LENGTH, CONTEXT),
            kind.head and kind.head(other.config),
            kind.metrics(other.config),
        )
        return *program_text(sums, jax.random.key(1), other.examples), demands

    def prepare(self, key: Array, examples: Examples) -> Batch:
        """The batch by `prepare`, traced again at each call."""
        return jax.jit(lambda key, examples: self.functions.prepare(key, examples))(key, examples)

    @cached_property
    def loss(self) -> Callable[[Array, Batch], Sums]:
        """`loss`, compiled."""
        return jax.jit(self.functions.loss)


def subject(objective: Objective, given: Mapping[str, object]) -> Subject:
    """The objective with these settings, for a model that it is made for. Raises UserError for
    wrong ones.
    """
    config = tiny(objective.Config, {}, given)
    model = ModelInfo(objective.scope or "causal", bool(objective.needs_context))
    return Subject(objective, objective.complete(config, model))


def laws(subject: Subject) -> list[Callable[[Subject], None]]:
    """Those that apply to the objective."""
    applicable = [batches, pure, ids, weights, sums, finite, ignored_targets, text_bytes, settings]
    applicable += [positions] if subject.functions.by_position else []
    return [*applicable, plain_windows] if subject.objective.consumes == "stream" else applicable


def batches(subject: Subject) -> None:
    """`prepare` gives a Batch, and `loss` sums with nll and weight."""
    batch = subject.functions.prepare(jax.random.key(1), subject.examples)
    expect(isinstance(batch, Batch), f"prepare gives a {type(batch).__name__}, not a Batch")
    sums_of_batch = subject.functions.loss(subject.logits, subject.batch)
    expect(
        isinstance(sums_of_batch, Mapping),
        f"loss gives a {type(sums_of_batch).__name__}, not a dict of sums",
    )
    for name in ("nll", "weight"):
        expect(name in sums_of_batch, f"loss gives no {name!r}; return it too")
    for name, value in sums_of_batch.items():
        expect(jnp.shape(value) == (), f"{name} has shape {jnp.shape(value)}; return a sum, f32[]")


def pure(subject: Subject) -> None:
    """`prepare` is a function of the key and the examples alone."""
    repeated = subject.prepare(jax.random.key(1), subject.examples)
    expect(
        distance(subject.batch, repeated) == 0,
        "two calls with one key give two batches; draw from the key alone",
    )


def ids(subject: Subject) -> None:
    """Ids are those of the vocabulary and of special_ids, as i32."""
    if subject.objective.head is not None:
        return
    specials = subject.objective.special_ids(subject.config, LENGTH, VOCABULARY)
    batch = subject.batch
    fields = {"tokens": batch.inputs.tokens, "context": batch.inputs.context}
    for name, array in {**fields, "targets": batch.targets}.items():
        if array is None:
            continue
        low, high, last = int(array.min()), int(array.max()), SIZE + specials - 1
        expect(array.dtype == jnp.int32, f"{name} are {array.dtype}, not int32")
        expect(
            low >= 0 and high <= last,
            f"{name} are {low} to {high}, and ids end at {last}; count those added in special_ids",
        )


def weights(subject: Subject) -> None:
    """Weights are not negative, and 0 where a row is all padding."""
    target_weights = subject.batch.weights
    low = float(target_weights.min())
    expect(bool(jnp.isfinite(target_weights).all()) and low >= 0, f"a weight is {low:.3g}")
    expect(float(target_weights.sum()) > 0, "all weights are 0: nothing is learnt")
    padded = float(target_weights[-1].max())
    expect(
        padded == 0,
        f"a target in a row of padding has weight {padded:.3g}; weigh 0 where segments are 0",
    )


def sums(subject: Subject) -> None:
    """The sums of a batch are those of its rows together."""
    all_rows = subject.loss(subject.logits, subject.batch)
    parts = [
        subject.loss(*jax.tree.map(lambda leaf, row=row: leaf[row : row + 2], _both(subject)))
        for row in (0, 2)
    ]
    for name, value in all_rows.items():
        total = parts[0][name] + parts[1][name]
        expect(
            distance(total, value) < TOLERANCE,
            f"{name} of four rows is {float(value):.4g}, of two and two {float(total):.4g} "
            "together; return sums over targets, not means",
        )


def positions(subject: Subject) -> None:
    """Where the objective says so, sums are those of parts of each row together."""
    logits, batch = _both(subject)
    half, parts = batch.targets.shape[1] // 2, []
    for some in (slice(None, half), slice(half, None)):
        targets, weights, sizes = (leaf[:, some] for leaf in batch[1:])
        part = Batch(batch.inputs, targets, weights, sizes)
        parts.append(subject.loss(logits[:, some], part))
    for name, value in subject.loss(logits, batch).items():
        total = parts[0][name] + parts[1][name]
        expect(
            distance(total, value) < TOLERANCE,
            f"{name} is {float(value):.4g}, and of two parts of the positions {float(total):.4g} "
            "together; leave out by_position, or return sums over positions",
        )


def finite(subject: Subject) -> None:
    """Sums and the gradient of nll are finite."""

    def total(logits: Array) -> tuple[Array, Sums]:
        sums_of_batch = subject.functions.loss(logits, subject.batch)
        return sums_of_batch["nll"] + sums_of_batch.get("penalty", 0.0), sums_of_batch

    gradient, sums_of_batch = jax.jit(jax.grad(total, has_aux=True))(subject.logits)
    for name, value in sums_of_batch.items():
        expect(bool(jnp.isfinite(value)), f"{name} is {float(value)}")
    expect(bool(jnp.isfinite(gradient).all()), "the gradient of nll is not finite")


def ignored_targets(subject: Subject) -> None:
    """Targets with weight 0 do not change the sums."""
    batch, ignored = subject.batch, subject.batch.weights == 0
    head = subject.objective.head
    classes = SIZE if head is None else head(subject.config).outputs
    other_targets = batch.targets + 1
    if batch.targets.dtype == jnp.int32:
        other_targets %= classes
    changed = batch._replace(targets=jnp.where(ignored, other_targets, batch.targets))
    before, after = (subject.loss(subject.logits, some_batch) for some_batch in (batch, changed))
    for name in before:
        size = distance(after[name], before[name])
        expect(
            size < TOLERANCE,
            f"{name} changes with targets whose weight is 0 ({size:.2g}); multiply by the weights",
        )


def text_bytes(subject: Subject) -> None:
    """Bytes, where targets are text, are those of the targets that count."""
    totals = subject.loss(subject.logits, subject.batch)
    if "bytes" in totals:
        expected = (subject.batch.bytes * (subject.batch.weights > 0)).sum()
        size = distance(totals["bytes"], expected)
        expect(
            size < TOLERANCE,
            f"bytes are {float(totals['bytes']):.4g}, and of the targets {float(expected):.4g}",
        )


def plain_windows(subject: Subject) -> None:
    """Examples without segments are windows of one document each."""
    bare = subject.examples._replace(segments=None)
    batch = subject.prepare(jax.random.key(1), bare)
    value = float(subject.loss(subject.logits, batch)["nll"])
    expect(np.isfinite(value), f"nll of examples without segments is {value}")


def _both(subject: Subject) -> PyTree:
    return subject.logits, subject.batch
