"""The laws of a family of models, tried on rows of 16 tokens."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lm_lab import generation
from lm_lab.contracts import Family, Model
from lm_lab.engine.sharding import unbox
from lm_lab.laws import TOLERANCE, Broken, distance, expect, random_bits, shifts_of, tiny
from lm_lab.laws.settings import of_model, settings
from lm_lab.types import Inputs, PyTree, Scope, UserError

ROWS, LENGTH, CONTEXT, CUT = 2, 16, 11, 6  # a row of two documents has 6 and 10 tokens
SIZES = {"width": 16, "depth": 2, "heads": 2, "vocab": 32, "length": LENGTH}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A family with tiny settings. Its program is compiled, and its parameters drawn, once for all
    laws.
    """

    family: Family
    config: Any
    leak: float = TOLERANCE
    """What may pass of what must not be seen, as a share of the largest logit; 0: not a bit."""

    @property
    def scope(self) -> Scope:
        """The scope of the features, as the family states it."""
        return self.family.scope_of(self.config)

    @cached_property
    def model(self) -> Model:
        """The Linen module."""
        return self.family.Model(self.config)

    @cached_property
    def variables(self) -> PyTree:
        """{"params": ...}; constant initial values are replaced by random ones, so that a head of
        zeros hides nothing.
        """
        init = jax.jit(lambda inputs: self.model.init(random_bits.key(0), inputs)["params"])
        random = np.random.default_rng(1)
        return {"params": jax.tree.map(partial(_varied, random), unbox(init(self.inputs)))}

    @cached_property
    def inputs(self) -> Inputs:
        """Rows of one document; none has a token twice."""
        vocab: int = self.config.vocab
        random = np.random.default_rng(0)
        order = np.stack([random.permutation(max(vocab, LENGTH)) % vocab for _ in range(ROWS)])
        tokens = jnp.asarray(order[:, :LENGTH], jnp.int32)
        inputs = Inputs(tokens, jnp.ones_like(tokens), _places(tokens))
        if not self.family.needs_context:
            return inputs
        context = jnp.asarray(order[:, -CONTEXT:], jnp.int32)
        return inputs._replace(context=context, context_segments=jnp.ones_like(context))

    @property
    def context(self) -> Array:
        """What an encoder reads."""
        assert self.inputs.context is not None
        return self.inputs.context

    @property
    def effect(self) -> Callable[[Any], object]:
        """Everything that the settings decide, for the law of settings."""
        return partial(of_model, self.family, self.inputs)

    @cached_property
    def apply(self) -> Callable[[PyTree, Inputs], Array]:
        """Logits f32[B L V] of variables and inputs."""
        return jax.jit(self.model.apply)

    def run(self, inputs: Inputs) -> Array:
        """Logits f32[B L V] of inputs."""
        return self.apply(self.variables, inputs)

    @cached_property
    def influence(self) -> np.ndarray:
        """f64[L L]: how much the logits at (row) change with the token at (column), as a share of
        the largest logit.
        """
        inputs, logits = self.inputs, self.run(self.inputs)
        changed_logits = [
            self.run(inputs._replace(tokens=inputs.tokens.at[:, column].set(other)))
            for column, other in enumerate(self.other(inputs.tokens).T)
        ]
        return np.stack([shifts_of(changed, logits) for changed in changed_logits], axis=1)

    def other(self, tokens: Array) -> Array:
        """Another id in the place of each."""
        return (tokens + 1) % self.config.vocab


def subject(family: Family, given: Mapping[str, object]) -> Subject:
    """The family with these settings, and small sizes. Raises UserError for wrong ones."""
    return Subject(family, tiny(family.Config, SIZES, given))


def laws(subject: Subject) -> list[Callable[[Subject], None]]:
    """Those that apply to the family."""
    applicable = {
        "causal": [shapes, gradients, causality, past, decoding],
        "bidirectional": [shapes, gradients, both_sides],
        "unordered": [shapes, gradients, single_words],
    }[subject.scope]
    applicable += [plain_rows, padding, documents, places, settings]
    if subject.family.needs_context:
        applicable += [context, context_padding, context_documents]
    fields = {field.name for field in dataclasses.fields(subject.config)}
    applicable += [law for law, field in ((scan, "scan"), (dropout, "dropout")) if field in fields]
    return applicable


def shapes(subject: Subject) -> None:
    """Features are [B L D] in the parameters' dtype, logits f32[B L V], without a dropout key."""
    features = partial(subject.model.apply, method="features")
    for dtype in (jnp.float32, jnp.bfloat16):
        cast = jax.tree.map(
            lambda leaf, dtype=dtype: jax.ShapeDtypeStruct(leaf.shape, dtype), subject.variables
        )
        functions = {"features": (features, dtype), "__call__": (subject.apply, jnp.float32)}
        for method, (function, expected) in functions.items():
            output = jax.eval_shape(function, cast, subject.inputs)
            width = subject.config.vocab if method == "__call__" else output.shape[-1]
            expect(
                output.shape == (ROWS, LENGTH, width) and output.dtype == expected,
                f"{method} gives {output.dtype}{list(output.shape)} of parameters in "
                f"{jnp.dtype(dtype)}, not {jnp.dtype(expected)}{[ROWS, LENGTH, width]}",
            )


def gradients(subject: Subject) -> None:
    """Logits and gradients are finite, also where a row is all padding."""
    inputs, targets = subject.inputs, subject.other(subject.inputs.tokens)
    segments = inputs.segments.at[-1].set(0)  # type: ignore[union-attr]

    def loss(variables: PyTree) -> Array:
        logits = subject.model.apply(variables, inputs._replace(segments=segments))
        nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
        return (nll * (segments > 0)).sum()

    value, tree = jax.jit(jax.value_and_grad(loss))(subject.variables)
    expect(bool(jnp.isfinite(value)), f"the loss beside a row of padding is {value}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        expect(bool(jnp.isfinite(leaf).all()), f"the gradient of {name} is not finite")


def causality(subject: Subject) -> None:
    """The logits of a token do not depend on later tokens."""
    _unseen(subject, np.triu(subject.influence, 1), "mask it, or say scope='bidirectional'")


def past(subject: Subject) -> None:
    """The logits of a token depend on the token before it."""
    _seen(subject, LENGTH - 2, LENGTH - 1)


def both_sides(subject: Subject) -> None:
    """The logits of a token depend on the tokens before and after it."""
    _seen(subject, LENGTH - 2, LENGTH - 1)
    _seen(subject, 1, 0)


def single_words(subject: Subject) -> None:
    """The logits of a token depend on no other token of the row."""
    others = np.where(np.eye(LENGTH), 0, subject.influence)
    _unseen(subject, others, "say scope='causal' or 'bidirectional'")


def plain_rows(subject: Subject) -> None:
    """A row without segments and positions is one document, as it is with padding behind it."""
    inputs, length = subject.inputs, LENGTH - 5
    bare = Inputs(inputs.tokens[:, :length])
    real = (_places(inputs.tokens) < length).astype(jnp.int32)
    padded = inputs._replace(segments=real, positions=_places(inputs.tokens) * real)
    if inputs.context is not None:
        bare = bare._replace(context=inputs.context[:, 4:])
        context_mask = jnp.ones_like(inputs.context).at[:, :4].set(0)
        padded = padded._replace(context_segments=context_mask)
    _still(
        shifts_of(subject.run(bare), subject.run(padded)[:, :length]),
        lambda token, size: (
            f"token {token} has other logits ({size}) where inputs.segments and .positions are "
            "None; take one segment, and places 0, 1, ..."
        ),
    )


def padding(subject: Subject) -> None:
    """The ids at padding change no token's logits."""
    inputs, length = subject.inputs, LENGTH - 5
    real = _places(inputs.tokens) < length
    padded = inputs._replace(segments=real.astype(jnp.int32))
    changed = jnp.where(real, inputs.tokens, subject.other(inputs.tokens))
    shifts = shifts_of(subject.run(padded._replace(tokens=changed)), subject.run(padded))[:length]
    _still(
        shifts,
        lambda token, size: (
            f"token {token} changes with padding ({size}); leave out tokens whose segment is 0"
        ),
        subject.leak,
    )


def documents(subject: Subject) -> None:
    """Documents of one row do not see each other."""
    packed = _packed(subject.inputs)
    for document, changing in ((2, slice(0, CUT)), (1, slice(CUT, None))):
        tokens = packed.tokens
        changed = tokens.at[:, changing].set(subject.other(tokens[:, changing]))
        shifts = shifts_of(subject.run(packed._replace(tokens=changed)), subject.run(packed))
        _still(
            shifts[CUT:] if document == 2 else shifts[:CUT],
            lambda token, size, document=document: (
                f"token {token} of document {document} changes with document {3 - document} "
                f"({size}); use inputs.segments"
            ),
            subject.leak,
        )


def places(subject: Subject) -> None:
    """A document has the logits that it has alone, wherever it stands in a row."""
    packed, count = _packed(subject.inputs), LENGTH - CUT
    order = _places(packed.tokens)
    for document, begin, length in ((1, 0, CUT), (2, CUT, count)):
        real = (order < length).astype(jnp.int32)
        alone = Inputs(jnp.roll(packed.tokens, -begin, axis=1), real, order * real)
        if packed.context_segments is not None:  # its own context, under the number 1
            own_segment = (packed.context_segments == document).astype(jnp.int32)
            alone = alone._replace(context=packed.context, context_segments=own_segment)
        packed_logits = subject.run(packed)[:, begin : begin + length]
        _still(
            shifts_of(packed_logits, subject.run(alone)[:, :length]),
            lambda token, size, document=document: (
                f"token {token} of document {document} has other logits beside document "
                f"{3 - document} than alone ({size}); use inputs.segments and inputs.positions"
            ),
        )


def context(subject: Subject) -> None:
    """Logits depend on the context."""
    changed = subject.inputs._replace(context=subject.other(subject.context))
    shifts = shifts_of(subject.run(changed), subject.run(subject.inputs))
    expect(
        shifts.max() > TOLERANCE,
        "no logits change with inputs.context; read it, or say needs_context=False",
    )


def context_padding(subject: Subject) -> None:
    """The ids at padding of a context change no logits."""
    inputs, context = subject.inputs, subject.context
    for real_columns in (jnp.arange(CONTEXT) < CONTEXT - 4, jnp.arange(CONTEXT) >= 4):
        real = jnp.broadcast_to(real_columns, context.shape)
        padded = inputs._replace(context_segments=real.astype(jnp.int32))
        changed = padded._replace(context=jnp.where(real, context, subject.other(context)))
        _still(
            shifts_of(subject.run(changed), subject.run(padded)),
            lambda token, size: (
                f"token {token} changes with padding of the context ({size}); leave out what has "
                "context_segments 0"
            ),
            subject.leak,
        )


def context_documents(subject: Subject) -> None:
    """A document of a row sees the context of its own segment alone."""
    packed, context = _packed(subject.inputs), subject.context
    first = packed.context_segments == 1
    changed = packed._replace(context=jnp.where(first, subject.other(context), context))
    _still(
        shifts_of(subject.run(changed), subject.run(packed))[CUT:],
        lambda token, size: (
            f"token {token} of document 2 changes with the context of document 1 ({size}); use "
            "inputs.context_segments"
        ),
        subject.leak,
    )


def scan(subject: Subject) -> None:
    """Layers that are scanned or unrolled have the same parameters and logits."""
    config = dataclasses.replace(subject.config, scan=not subject.config.scan)
    other = jax.jit(subject.family.Model(config).apply)(subject.variables, subject.inputs)
    size = distance(other, subject.run(subject.inputs))
    expect(size < TOLERANCE, f"logits are others with scan={config.scan} ({size:.2g})")


def dropout(subject: Subject) -> None:
    """Features are dropped if a "dropout" key is given, and only then."""
    config = dataclasses.replace(subject.config, dropout=0.5)
    model = subject.family.Model(config)

    @jax.jit
    def both(variables: PyTree, key: Array) -> tuple[Array, Array]:
        dropped = model.apply(variables, subject.inputs, rngs={"dropout": key})
        return model.apply(variables, subject.inputs), dropped

    without, dropped = both(subject.variables, jax.random.key(0))
    full = subject.run(subject.inputs)
    size = distance(without, full)
    expect(size < TOLERANCE, f"logits without a key change with the setting dropout ({size:.2g})")
    expect(distance(dropped, full) > TOLERANCE, "nothing is dropped with dropout=0.5 and a key")


def decoding(subject: Subject) -> None:
    """Token by token with a cache, if there is one, logits are those of the full pass."""
    model, variables, prompt_length = subject.model, subject.variables, 5
    padding = jnp.asarray([0, prompt_length - 1])[:, None]  # of each row's prompt, on its left
    order = jnp.arange(LENGTH) - padding
    tokens = jnp.take_along_axis(subject.inputs.tokens, order.clip(0), 1)
    padded = Inputs(tokens, (order >= 0).astype(jnp.int32), order.clip(0))
    inputs = subject.inputs
    if inputs.context_segments is not None:  # of 7 tokens in the second row
        inputs = inputs._replace(context_segments=inputs.context_segments.at[1, 7:].set(0))
    encoder_inputs = {"context": inputs.context, "context_segments": inputs.context_segments}
    try:
        cache = generation.init_cache(model, variables, padded._replace(**encoder_inputs))
    except UserError:
        return
    advance = jax.jit(lambda cache, inputs: generation.advance(model, variables, cache, inputs))
    parts = []
    for start, end in [
        (0, prompt_length),
        *((position, position + 1) for position in range(prompt_length, LENGTH)),
    ]:
        part = jax.tree.map(lambda leaf, start=start, end=end: leaf[:, start:end], padded)
        logits, cache = advance(cache, part._replace(**encoder_inputs) if start == 0 else part)
        parts.append(logits)
    cached, full = jnp.concatenate(parts, 1), subject.run(inputs)
    for row, offset in enumerate(padding[:, 0].tolist()):
        size = distance(cached[row, offset:], full[row, : LENGTH - offset])
        expect(
            size < TOLERANCE,
            f"with {offset} tokens of padding before a prompt, cached logits are not those of the "
            f"full pass ({size:.2g})",
        )


def _varied(random: np.random.Generator, leaf: Array) -> Array:
    values = np.asarray(leaf)
    constant = values.size > 1 and (values == values.flat[0]).all()
    noise = 0.1 * random.standard_normal(leaf.shape) if constant else 0
    return jnp.asarray(values + noise, leaf.dtype)


def _places(tokens: Array) -> Array:
    return jnp.broadcast_to(jnp.arange(LENGTH), tokens.shape)


def _packed(inputs: Inputs) -> Inputs:
    """Rows of two documents, each with its part of the context."""
    order = _places(inputs.tokens)
    first = order < CUT
    packed = inputs._replace(
        segments=jnp.where(first, 1, 2).astype(jnp.int32),
        positions=jnp.where(first, order, order - CUT),
    )
    if inputs.context is None:
        return packed
    parts = jnp.where(jnp.arange(CONTEXT) < CONTEXT // 2, 1, 2).astype(jnp.int32)
    return packed._replace(context_segments=jnp.broadcast_to(parts, inputs.context.shape))


def _still(
    shifts_L: np.ndarray, fault: Callable[[int, str], str], allowed: float = TOLERANCE
) -> None:
    """Raises Broken for the token whose logits changed most, if by more than `allowed`."""
    token = int(shifts_L.argmax())
    if not shifts_L[token] <= allowed:
        raise Broken(fault(token, f"{shifts_L[token]:.2g}"))


def _seen(subject: Subject, place: int, by: int) -> None:
    """Raises Broken where the logits at `by` do not change with the token at `place`."""
    expect(
        subject.influence[by, place] > TOLERANCE,
        f"token {by} does not change with token {place}, though scope is {subject.scope!r}",
    )


def _unseen(subject: Subject, influence: np.ndarray, remedy: str) -> None:
    """Raises Broken for the largest entry of the influence, unless that is within rounding."""
    token, place = np.unravel_index(influence.argmax(), influence.shape)
    size = influence[token, place]
    expect(size <= subject.leak, f"token {token} changes with token {place} ({size:.2g}); {remedy}")
