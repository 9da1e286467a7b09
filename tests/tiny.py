"""The smallest models, batches and runs on which the laws of the engine are stated."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lm_lab import config as configs
from lm_lab import registry
from lm_lab.engine.sharding import unbox
from lm_lab.interop.fields import config_of
from lm_lab.laws import random_bits
from lm_lab.train.task import Task, bind
from lm_lab.types import Examples, Inputs

WIDTH, DEPTH, HEADS, VOCAB, LENGTH, ROWS, CONTEXT = 16, 2, 2, 32, 16, 8, 11

ROUNDING = 1e-5
"""Two orders of the same float32 sums differ by some rounding errors of 6e-8 of their largest
terms: this allows 160, as a share of the largest entry of the array. What a law is broken by (a
lost row, a mean of means, a leak) is 1e-3.
"""

EPSILON = 1e-3
"""AdamW's epsilon where states are compared after several steps: it divides a gradient by its own
size, so that with 1e-8 an entry that is all rounding error would move by a whole rate, in either
direction.
"""

RUN: dict[str, Any] = {
    "seed": 0,
    "model": {"family": "decoder", "width": WIDTH, "depth": DEPTH, "heads": HEADS, "scan": True},
    "objective": {"name": "causal"},
    "data": {
        "source": {
            "name": "synthetic",
            "symbols": 4,
            "order": 1,
            "documents": 64,
            "document_bytes": 256,
        },
        "length": LENGTH,
    },
    "optimizer": {"peak_rate": 1e-2, "epsilon": EPSILON},
    "schedule": {"warmup_steps": 2},
    "train": {
        "steps": 8,
        "batch_size": ROWS,
        "steps_per_call": 2,
        "log_every_steps": 2,
        "eval_every_steps": 4,
        "eval_batches": 2,
        "checkpoint_every_steps": 2,
    },
}


def config(changes: dict[str, Any] | None = None) -> ConfigDict:
    """The config of a tiny run, with dotted keys changed."""
    return configs.override(ConfigDict(RUN), changes or {})


def resolve(changes: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
    """The experiment of `config`, complete, and its plain values."""
    task = bind(*configs.resolve(config(changes)))
    return task.experiment, dict(task.values)


def bound(experiment: Any) -> Task:
    """The task of an experiment that is complete."""
    return bind(experiment, {"model": {"vocab": experiment.model.settings.vocab}})


def model(family: str = "decoder", **changes: Any) -> Any:
    """A tiny model of a family, scanned, as that compiles faster; of the settings, it takes those
    that its Config has.
    """
    module = registry.load("models", family, "family")
    known = {field.name for field in dataclasses.fields(module.Config)}
    sizes = {
        "width": WIDTH,
        "depth": DEPTH,
        "heads": HEADS,
        "vocab": VOCAB,
        "length": LENGTH,
        "scan": True,
    }
    values = {name: size for name, size in sizes.items() if name in known} | changes
    return module.Model(config_of(module.Config, values, "config.model"))


def params_of(model: Any, inputs: Inputs, seed: int = 0) -> Any:
    """Its parameters, unboxed, for inputs of these shapes."""

    @jax.jit
    def drawn(key: jax.Array) -> Any:
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), inputs)
        return unbox(model.init(key, zeros)["params"])

    return drawn(random_bits.key(seed))


def random_params(model: Any, inputs: Inputs, seed: int = 0) -> Any:
    """Parameters of a transformer, all random and of usual sizes, norms and biases too, so that
    none can be left out without a difference; nothing is compiled for them.
    """
    random = np.random.default_rng(seed)
    shapes = unbox(jax.eval_shape(lambda: model.init(jax.random.key(0), inputs)["params"]))

    def draw(path: Any, leaf: Any) -> jax.Array:
        name, noise = path[-1].key, random.standard_normal(leaf.shape)
        sized = {"scale": 1 + 0.3 * noise, "bias": 0.3 * noise, "embedding": noise}
        values = sized[name] if name in sized else noise * leaf.shape[-2] ** -0.5
        return jnp.asarray(values, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def first_logits(model: Any, inputs: Inputs, seed: int = 0) -> np.ndarray:
    """Logits f32[B L V] of the parameters that a model begins with."""

    @jax.jit
    def run(key: jax.Array) -> jax.Array:
        return model.apply(model.init(key, inputs), inputs)

    return np.asarray(run(random_bits.key(seed)))


def tokens(rows: int = 2, length: int = LENGTH, seed: int = 0, vocab: int = VOCAB) -> jax.Array:
    """Random tokens i32[rows, length]."""
    return jnp.asarray(np.random.default_rng(seed).integers(0, vocab, (rows, length)), jnp.int32)


def normal(*shape: int, seed: int = 0) -> jax.Array:
    """Normal numbers f32, drawn on the host: jax.random would compile them for each shape."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def inputs(family: str, tokens_BL: jax.Array, *where: Any, context_segments: Any = None) -> Inputs:
    """Inputs of these tokens (segments, positions), with a context of the upper half of the
    vocabulary, no token twice in a row, where the family reads one.
    """
    inputs = Inputs(tokens_BL, *where)
    if not registry.load("models", family, "family").needs_context:
        return inputs
    upper = [
        np.random.default_rng(row).permutation(VOCAB // 2)[:CONTEXT]
        for row in range(tokens_BL.shape[0])
    ]
    context = jnp.asarray(np.stack(upper) + VOCAB // 2, jnp.int32)
    return inputs._replace(context=context, context_segments=context_segments)


def examples(
    rows: int = ROWS, length: int = LENGTH, seed: int = 0, segments: Any = None
) -> Examples:
    """Random windows of length + 1 tokens, a byte each."""
    shape = (rows, length + 1)
    ones = jnp.asarray(np.ones(shape, np.float32))
    return Examples(tokens(*shape, seed=seed), ones, segments)


def distance(one: Any, other: Any) -> float:
    """The largest difference of two trees of arrays, as a share of the largest entry of the leaf it
    is in.
    """
    return max(
        _distance(*pair) for pair in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def _distance(one: Any, other: Any) -> float:
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    assert a.shape == b.shape
    assert np.isfinite(a).all()
    assert np.isfinite(b).all()
    return float(np.abs(a - b).max(initial=0.0) / max(np.abs(b).max(initial=0.0), 1e-30))


def same_bits(one: Any, other: Any) -> bool:
    """Whether two trees of arrays are equal in every bit."""
    pairs = zip(
        jax.tree.leaves(jax.device_get(one)), jax.tree.leaves(jax.device_get(other)), strict=True
    )
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs
    )


def member(tree: Any, index: int) -> Any:
    """One member of a population's tree, on the host, where an index compiles nothing."""
    return jax.tree.map(lambda x: x[index], jax.device_get(tree))
