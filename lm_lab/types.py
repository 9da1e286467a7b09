"""Shared types: the glossary of shapes, the records that cross module borders, the user's error.

One letter per axis, everywhere: B batch, L length, M memory length, D width, H heads, K head dim, F
feed-forward dim, V vocabulary, N layers, P population. An array's name ends in its shape: `x_BLD`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jax import Array
from jax.typing import DTypeLike

PyTree = Any

Scope = Literal["causal", "bidirectional", "unordered"]
"""What the features of a token depend on: the tokens up to it, all of its segment, or single words
and bags of them that the objective makes.
"""

Side = Literal["train", "heldout", "test"]
"""A side of the data: trained on, evaluated during training, evaluated once at the end of a run."""

DataForm = Literal["stream", "pairs", "labelled", "preferences"]
"""What a source provides and an objective consumes: one stream of text, or records: pairs of texts,
texts with labels, or prompts with an answer that is preferred to another.
"""

Pooling = Literal["first", "first_tanh", "mean", "last"]
"""Which vector stands for a whole text: that of its first or last token, or the mean; "first_tanh"
sends the first through a dense layer and tanh.
"""

Sums = Mapping[str, Array]
"""Sums and counts over targets, never means: {"nll": nats, "weight":
targets, "bytes": UTF-8 bytes, ...}.

"nll" is minimised; "bytes" is absent if targets are not text; "correct" counts targets that the
model ranked first.
"""


class UserError(Exception):
    """An error that the user can correct. The message is one line: the key or path, and the remedy.

    >>> lm_lab.make_model("decodr")
    Traceback (most recent call last):
    lm_lab.types.UserError: family: no models named 'decodr'; did you mean 'decoder'?
    """

    def _render_traceback_(self) -> list[str]:
        """The lines that a notebook shows in place of a traceback."""
        return [f"UserError: {self}"]


class Examples(NamedTuple):
    """Raw windows of the token store, from the loader; the objective asks for S (causal: L + 1)."""

    tokens: Array  # i32[B S]
    # f32[B S]: the UTF-8 bytes of text that each token stands for. A loader leaves them None in
    # training, and the objective of a bound task looks them up before its `prepare` reads them.
    bytes: Array
    segments: Array | None = None  # i32[B S], 0 = padding; None: one unpadded segment a row
    context: Array | None = None  # i32[B M], the source of a pair whose target is `tokens`
    context_segments: Array | None = None  # i32[B M], 0 = padding
    # the class (as a number) or the value of each row f32[B], or where rows are packed of each
    # segment f32[B P]: the p-th is that of segment p + 1. Of preferences always [B P], 1 and 0 in
    # turn: a prompt with the answer that is chosen, and with the one that is rejected.
    labels: Array | None = None
    # bool[B], True where a row begins a text anew, and a carried state with it; None: all do
    begins: Array | None = None
    # f32[B P], of preferences: what Objective.reference gives of each answer under the model that
    # training starts from; None where the objective asks for none
    reference: Array | None = None


class Inputs(NamedTuple):
    """All that a model may see; never the targets.

    >>> inputs = lm_lab.Inputs(jnp.zeros((2, 8), int))
    >>> inputs.tokens.shape, inputs.segments
    ((2, 8), None)
    """

    tokens: Array  # i32[B L]
    segments: Array | None = None  # i32[B L], 0 = padding; None: one unpadded segment a row
    positions: Array | None = None  # i32[B L]; None: 0 .. L-1
    context: Array | None = None  # i32[B M], the encoder's side
    context_segments: Array | None = (
        None  # i32[B M], 0 = padding; a query sees the context of its own segment
    )
    kinds: Array | None = None  # i32[B L], BERT's segment types; None: all 0
    prefix: Array | None = (
        None  # bool[B L], True where a token is seen by all of its segment, earlier ones too
    )
    pooled: Array | None = (
        None  # i32[B P], the segments of which a head reads one vector each; None: the whole row
    )


class Batch(NamedTuple):
    """The objective's view of examples."""

    inputs: Inputs
    targets: Array  # i32[B L]; of a regression f32[B 1]
    weights: Array  # f32[B L]
    bytes: Array  # f32[B L]: the UTF-8 bytes that each target stands for
    reference: Array | None = None  # f32[B P], as that of the examples


ANSWERS = 2  # of a preference: the chosen one and the rejected one


class Document(NamedTuple):
    """A text with a name that is the same on every machine (a path below the source's root)."""

    name: str
    text: str
    target: str | None = None  # of a pair with the source `text`
    label: float | None = None  # a class, as its number, or a value
    # of a preference: the prompt is `text`, the chosen answer `target`, the rejected one this
    rejected: str | None = None
    split: Side | None = None  # the side that the source assigns; None: the split's rule decides
    group: str | None = None  # documents of a group go to one side; None: copies of a text do


class Encoder(NamedTuple):
    """The `encode` of a Codec whose library has a batch call, which may use all cores."""

    one: Callable[[str], np.ndarray]
    many: Callable[[Sequence[str]], list[np.ndarray]]  # the ids of each text, as `one` gives them

    def __call__(self, text: str) -> np.ndarray:
        """The ids of a text."""
        return self.one(text)


class Codec(NamedTuple):
    """Text to ids and back: decode(encode(text)) == text;
    bytes_of[encode(text)].sum() is its UTF-8 size.

    Codecs of other libraries that normalise text (lower case, a leading space) return the
    normalised text, and count its bytes.
    """

    identity: str  # the name and a digest of the vocabulary: whatever changes the result of encode
    vocab: int  # ids are 0 .. vocab - 1
    end_of_document: (
        int  # the id that the token store puts after every document; encode never returns it
    )
    bytes_of: np.ndarray  # u16[vocab]: the UTF-8 bytes of the original text that each id stands for
    # u8[vocab]: 0 stands alone, 1 goes on with a word where one stands before it, 2 begins a word
    words: np.ndarray
    sentence_ends: np.ndarray  # bool[vocab]: a sentence ends after it
    encode: Callable[
        [str], np.ndarray
    ]  # text -> ids, in the smallest unsigned dtype that holds the vocabulary
    decode: Callable[
        [Sequence[int] | np.ndarray], str
    ]  # ids -> text, without special ids; bytes that are not UTF-8 become U+FFFD
    encode_source: Callable[[str], np.ndarray] | None = (
        None  # encodes the source of a pair, if sources are tokenized another way
    )
    mask: int | None = None  # the id that hides a token; None: objectives add one
    stray: int | None = (
        # the id of byte 0xFF, where decode writes U+FFFD for bytes that are not UTF-8
        None
    )
    sentinels: tuple[
        int, ...
    ] = ()  # the ids that stand for hidden spans, in order; (): objectives add them
    # bool[vocab]: True for ids that stand for text outside of the vocabulary (fallback bytes, the
    # unknown token); None: there are none
    unknown: np.ndarray | None = None

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text, by the batch call if `encode` is an Encoder, else one by one."""
        if isinstance(self.encode, Encoder):
            return self.encode.many(texts)
        return [self.encode(text) for text in texts]

    def of_source(self, text: str) -> np.ndarray:
        """The ids of a text that is the source of a pair."""
        return (self.encode_source or self.encode)(text)


class Vocabulary(NamedTuple):
    """The objective's view of the tokenizer and of the model's special ids.

    Special ids that neither has are added by the objective, as size, size + 1, ...
    """

    size: int  # ids of text and end_of_document are 0 .. size - 1
    end_of_document: int
    # u8[size]: 0 stands alone, 1 goes on with a word where one stands before it, 2 begins a word
    words: np.ndarray
    sentence_ends: np.ndarray  # bool[size]: a sentence ends after it
    start: int | None = None  # the id with which the model's decoder begins
    mask: int | None = None  # the id of a hidden token
    sentinels: tuple[int, ...] = ()  # the ids of hidden spans, in order

    @property
    def hides(self) -> int:
        """The id that hides a token: the mask of the tokenizer, or the first id after the
        vocabulary.
        """
        return self.size if self.mask is None else self.mask


class ObjectiveFunctions(NamedTuple):
    """An objective with its settings: two pure functions.

    prepare(key, examples) -> Batch; loss(logits f32[B L V], batch) -> Sums, with at least nll,
    weight and bytes. The gradient is that of nll, plus "penalty" if there is one.
    """

    prepare: Callable[[Array, Examples], Batch]
    loss: Callable[[Array, Batch], Sums]
    # whether the loss is a sum over positions, by their logits, targets, weights and bytes alone,
    # so that it may be taken of a part of each row at a time
    by_position: bool = False


Hyper = Mapping[str, Array]
"""Settings that runs of one program may differ in (`traced=True`), by field name, as arrays:
{"seed": u32[], "peak_rate": f32[], ...}.
"""


class AdapterFunctions(NamedTuple):
    """How an adapter splits a model's parameters: pure functions on trees of parameters."""

    split: Callable[
        [Array, PyTree], tuple[PyTree, PyTree]
    ]  # (key, parameters) -> (trained, frozen)
    variables: Callable[
        [PyTree, PyTree, DTypeLike], PyTree
    ]  # (trained, frozen, dtype) -> the variables to which the model is applied
    merge: Callable[
        [PyTree, PyTree], PyTree
    ]  # (trained, frozen) -> merged parameters that compute the same without the adapter
