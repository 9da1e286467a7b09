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
from lm_lab.laws import TOLERANCE, Broken, distance, expect, tiny
from lm_lab.types import Inputs, PyTree, Scope

ROWS, LENGTH, CONTEXT, CUT = 2, 16, 11, 6  # a row of two documents has 6 and 10 tokens
SIZES = {"width": 16, "depth": 2, "heads": 2, "vocab": 32, "length": LENGTH}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A family with tiny settings. What is compiled or drawn is so once."""

    family: Family
    config: Any

    @property
    def scope(self) -> Scope:
        """What its features say that they see."""
        return self.family.scope_of(self.config)

    @cached_property
    def model(self) -> Model:
        """The Linen module."""
        return self.family.Model(self.config)

    @cached_property
    def variables(self) -> PyTree:
        """{"params": ...}, random where they begin as constants, so that a head of zeros hides
        nothing.
        """
        made = jax.jit(self.model.init)(jax.random.key(0), self.inputs)
        leaves, structure = jax.tree.flatten(unbox(made["params"]))
        keys = jax.random.split(jax.random.key(1), len(leaves))
        drawn = [_varied(key, leaf) for key, leaf in zip(keys, leaves, strict=True)]
        return {"params": jax.tree.unflatten(structure, drawn)}

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

    @cached_property
    def run(self) -> Callable[[Inputs], Array]:
        """Logits f32[B L V] of inputs."""
        apply = jax.jit(self.model.apply)
        return lambda inputs: apply(self.variables, inputs)

    def other(self, tokens: Array) -> Array:
        """Other ids in the place of each."""
        return (tokens + 1) % self.config.vocab


def subject(family: Family, settings: Mapping[str, object]) -> Subject:
    """The family with these settings, and small sizes. Raises UserError for wrong ones."""
    return Subject(family, tiny(family.Config, SIZES, settings))


def laws(subject: Subject) -> list[Callable[[Subject], None]]:
    """Those that apply to the family."""
    found = {
        "causal": [shapes, gradients, causality, past, decoding],
        "bidirectional": [shapes, gradients, both_sides],
        "unordered": [shapes, gradients, single_words],
    }[subject.scope]
    found += [plain_rows, padding, documents, places]
    if subject.family.needs_context:
        found += [context, context_padding, context_documents]
    fields = {field.name for field in dataclasses.fields(subject.config)}
    found += [law for law, field in ((scan, "scan"), (dropout, "dropout")) if field in fields]
    return found


def shapes(subject: Subject) -> None:
    """Features are [B L D] in the dtype of the parameters, logits f32[B L V], without a dropout
    key.
    """
    rows = (ROWS, LENGTH)
    for dtype in (jnp.float32, jnp.bfloat16):
        cast = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), subject.variables)
        for method, kept in (("features", dtype), ("__call__", jnp.float32)):
            function = partial(subject.model.apply, method=method)
            found = jax.eval_shape(function, cast, subject.inputs)
            last = subject.config.vocab if method == "__call__" else found.shape[-1]
            expect(
                found.shape == (*rows, last) and found.dtype == kept,
                f"{method} gives {found.dtype}{list(found.shape)} of parameters in "
                f"{dtype.__name__}, not {kept.__name__}{[*rows, last]}",
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
    inputs, before = subject.inputs, subject.run(subject.inputs)
    for place in (1, LENGTH // 2, LENGTH - 1):
        changed = inputs.tokens.at[:, place:].set(subject.other(inputs.tokens[:, place:]))
        shifts = _shifts(subject.run(inputs._replace(tokens=changed)), before)[:place]
        _still(
            shifts,
            lambda token, size, place=place: (
                f"token {token} changes with those from {place} on ({size}); mask what comes "
                "later, or say scope='bidirectional'"
            ),
        )


def past(subject: Subject) -> None:
    """The logits of a token depend on the token before it."""
    _seen(subject, LENGTH - 2, LENGTH - 1)


def both_sides(subject: Subject) -> None:
    """The logits of a token depend on the tokens before and after it."""
    _seen(subject, LENGTH - 2, LENGTH - 1)
    _seen(subject, 1, 0)


def single_words(subject: Subject) -> None:
    """The logits of a token depend on no other token of the row."""
    inputs, place = subject.inputs, LENGTH // 2
    changed = inputs.tokens.at[:, place].set(subject.other(inputs.tokens[:, place]))
    shifts = _shifts(subject.run(inputs._replace(tokens=changed)), subject.run(inputs))
    shifts[place] = 0
    _still(
        shifts,
        lambda token, size: (
            f"token {token} changes with token {place} ({size}); say scope='causal' or "
            "'bidirectional'"
        ),
    )


def plain_rows(subject: Subject) -> None:
    """A row without segments and positions is one document, with places from 0 on."""
    bare = subject.inputs._replace(segments=None, positions=None, context_segments=None)
    shifts = _shifts(subject.run(bare), subject.run(subject.inputs))
    _still(
        shifts,
        lambda token, size: (
            f"token {token} has other logits ({size}) where inputs.segments and .positions are "
            "None; take one segment, and places 0, 1, ..."
        ),
    )


def padding(subject: Subject) -> None:
    """What stands in the place of padding changes no token's logits."""
    inputs, length = subject.inputs, LENGTH - 5
    real = jnp.broadcast_to(jnp.arange(LENGTH) < length, inputs.tokens.shape)
    padded = inputs._replace(segments=real.astype(jnp.int32))
    changed = jnp.where(real, inputs.tokens, subject.other(inputs.tokens))
    shifts = _shifts(subject.run(padded._replace(tokens=changed)), subject.run(padded))[:length]
    _still(
        shifts,
        lambda token, size: (
            f"token {token} changes with padding ({size}); leave out tokens whose segment is 0"
        ),
    )


def documents(subject: Subject) -> None:
    """Documents of one row do not see each other."""
    packed = _packed(subject.inputs)
    for document, changing in ((2, slice(0, CUT)), (1, slice(CUT, None))):
        tokens = packed.tokens
        changed = tokens.at[:, changing].set(subject.other(tokens[:, changing]))
        shifts = _shifts(subject.run(packed._replace(tokens=changed)), subject.run(packed))
        kept = shifts[CUT:] if document == 2 else shifts[:CUT]
        _still(
            kept,
            lambda token, size, document=document: (
                f"token {token} of document {document} changes with document {3 - document} "
                f"({size}); use inputs.segments"
            ),
        )


def places(subject: Subject) -> None:
    """A document has the logits that it has alone, wherever it stands in a row."""
    packed, count = _packed(subject.inputs), LENGTH - CUT
    tokens = jnp.roll(packed.tokens, -CUT, axis=1)
    real = (_places(tokens) < count).astype(jnp.int32)
    alone = packed._replace(tokens=tokens, segments=real, positions=_places(tokens) * real)
    if packed.context_segments is not None:  # the context of document 2, under the number 1
        alone = alone._replace(context_segments=packed.context_segments - 1)
    shifts = _shifts(subject.run(packed)[:, CUT:], subject.run(alone)[:, :count])
    _still(
        shifts,
        lambda token, size: (
            f"token {token} of document 2 has other logits behind document 1 than alone ({size}); "
            "use inputs.segments and inputs.positions"
        ),
    )


def context(subject: Subject) -> None:
    """Logits depend on the context."""
    changed = subject.inputs._replace(context=subject.other(_context(subject.inputs)))
    shifts = _shifts(subject.run(changed), subject.run(subject.inputs))
    expect(
        shifts.max() > TOLERANCE,
        "no logits change with inputs.context; read it, or say needs_context=False",
    )


def context_padding(subject: Subject) -> None:
    """What stands in the place of a context's padding changes nothing."""
    inputs, context = subject.inputs, _context(subject.inputs)
    real = jnp.broadcast_to(jnp.arange(CONTEXT) < CONTEXT - 4, context.shape)
    padded = inputs._replace(context_segments=real.astype(jnp.int32))
    changed = padded._replace(context=jnp.where(real, context, subject.other(context)))
    _still(
        _shifts(subject.run(changed), subject.run(padded)),
        lambda token, size: (
            f"token {token} changes with padding of the context ({size}); leave out what has "
            "context_segments 0"
        ),
    )


def context_documents(subject: Subject) -> None:
    """A document of a row sees the context of its own segment alone."""
    packed = _packed(subject.inputs)
    context = _context(packed)
    first = packed.context_segments == 1
    changed = packed._replace(context=jnp.where(first, subject.other(context), context))
    _still(
        _shifts(subject.run(changed), subject.run(packed))[CUT:],
        lambda token, size: (
            f"token {token} of document 2 changes with the context of document 1 ({size}); use "
            "inputs.context_segments"
        ),
    )


def scan(subject: Subject) -> None:
    """Layers that are scanned or unrolled have the same parameters and logits."""
    config = dataclasses.replace(subject.config, scan=not subject.config.scan)
    other = jax.jit(subject.family.Model(config).apply)(subject.variables, subject.inputs)
    size = distance(other, subject.run(subject.inputs))
    expect(size < TOLERANCE, f"logits are others with scan={config.scan} ({size:.2g})")


def dropout(subject: Subject) -> None:
    """Features are dropped where a "dropout" key is given, and else not."""
    config = dataclasses.replace(subject.config, dropout=0.5)
    model = subject.family.Model(config)

    @jax.jit
    def both(variables: PyTree, key: Array) -> tuple[Array, Array]:
        dropped = model.apply(variables, subject.inputs, rngs={"dropout": key})
        return model.apply(variables, subject.inputs), dropped

    without, dropped = both(subject.variables, jax.random.key(0))
    whole = subject.run(subject.inputs)
    size = distance(without, whole)
    expect(size < TOLERANCE, f"logits without a key change with the setting dropout ({size:.2g})")
    expect(distance(dropped, whole) > TOLERANCE, "nothing is dropped with dropout=0.5 and a key")


def decoding(subject: Subject) -> None:
    """Token by token with a cache, if there is one, logits are those of the full pass."""
    if not _has_cache(subject):
        return
    model, variables, begun = subject.model, subject.variables, 5
    padding = jnp.asarray([0, 3])[:, None]  # of each row's prompt, on its left
    order = jnp.arange(LENGTH) - padding
    tokens = jnp.take_along_axis(subject.inputs.tokens, order.clip(0), 1)
    padded = Inputs(tokens, (order >= 0).astype(jnp.int32), order.clip(0))
    given = {
        "context": subject.inputs.context,
        "context_segments": subject.inputs.context_segments,
    }
    advance = jax.jit(lambda cache, inputs: generation.advance(model, variables, cache, inputs))
    cache, parts = generation.init_cache(model, variables, padded._replace(**given)), []
    for begin, end in [(0, begun), *((place, place + 1) for place in range(begun, LENGTH))]:
        piece = jax.tree.map(lambda leaf, begin=begin, end=end: leaf[:, begin:end], padded)
        logits, cache = advance(cache, piece._replace(**given) if begin == 0 else piece)
        parts.append(logits)
    cached, whole = jnp.concatenate(parts, 1), subject.run(subject.inputs)
    for row, moved in enumerate(padding[:, 0].tolist()):
        size = distance(cached[row, moved:], whole[row, : LENGTH - moved])
        expect(
            size < TOLERANCE,
            f"with {moved} tokens of padding before a prompt, cached logits are not those of the "
            f"full pass ({size:.2g})",
        )


def _varied(key: Array, leaf: Array) -> Array:
    constant = (leaf == leaf.reshape(-1)[:1]).all() & (leaf.size > 1)
    return jnp.where(constant, leaf + 0.1 * jax.random.normal(key, leaf.shape, leaf.dtype), leaf)


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


def _context(inputs: Inputs) -> Array:
    assert inputs.context is not None
    return inputs.context


def _has_cache(subject: Subject) -> bool:
    """Whether the model keeps anything of earlier tokens."""
    _, changed = jax.eval_shape(
        lambda variables: subject.model.apply(
            variables, subject.inputs, mutable=["cache"], method="features"
        ),
        subject.variables,
    )
    return "cache" in changed


def _shifts(one_BLV: Array, other_BLV: Array) -> np.ndarray:
    """f64[L]: the largest difference at each token, as a share of the largest logit."""
    one, other = np.asarray(one_BLV, np.float64), np.asarray(other_BLV, np.float64)
    difference = np.nan_to_num(np.abs(one - other), nan=np.inf, posinf=np.inf)
    return difference.max((0, 2)) / max(float(np.abs(other).max()), 1e-30)


def _still(shifts_L: np.ndarray, fault: Callable[[int, str], str]) -> None:
    """Raises Broken for the token that moved most."""
    token = int(shifts_L.argmax())
    if not shifts_L[token] < TOLERANCE:
        raise Broken(fault(token, f"{shifts_L[token]:.2g}"))


def _seen(subject: Subject, place: int, by: int) -> None:
    """Raises Broken where the token at `by` does not change with that at `place`."""
    inputs = subject.inputs
    changed = inputs.tokens.at[:, place].set(subject.other(inputs.tokens[:, place]))
    shifts = _shifts(subject.run(inputs._replace(tokens=changed)), subject.run(inputs))
    expect(
        shifts[by] > TOLERANCE,
        f"token {by} does not change with token {place}, though scope is {subject.scope!r}",
    )
