"""The laws of an adapter, tried on a tiny decoder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab import registry
from lm_lab.contracts import Adapter
from lm_lab.laws import TOLERANCE, distance, expect, models, tiny
from lm_lab.types import AdapterFunctions, PyTree


@dataclass(frozen=True)
class Subject:
    """An adapter with its settings, on the parameters of a decoder."""

    adapter: Adapter
    config: Any
    decoder: models.Subject

    @cached_property
    def functions(self) -> AdapterFunctions:
        """Its three functions."""
        return self.adapter.make(self.config)

    @cached_property
    def params(self) -> PyTree:
        """The decoder's parameters."""
        return self.decoder.variables["params"]

    @cached_property
    def parts(self) -> tuple[PyTree, PyTree]:
        """(trained, frozen) parameters, the trained ones moved from their initial values."""
        trained, frozen = self.functions.split(jax.random.key(0), self.params)
        leaves, structure = jax.tree.flatten(trained)
        keys = jax.random.split(jax.random.key(1), max(len(leaves), 1))
        moved = [
            leaf + 0.1 * jax.random.normal(key, leaf.shape, leaf.dtype)
            for key, leaf in zip(keys, leaves, strict=False)
        ]
        return jax.tree.unflatten(structure, moved), frozen

    def logits(self, variables: PyTree) -> Array:
        """The decoder's logits with these variables."""
        return self.decoder.model.apply(variables, self.decoder.inputs)


def subject(adapter: Adapter, settings: Mapping[str, object]) -> Subject:
    """The adapter with these settings. Raises UserError for wrong ones."""
    decoder = models.subject(registry.load("models", "decoder", "laws"), {"depth": 1})
    return Subject(adapter, tiny(adapter.Config, {}, settings), decoder)


def laws(subject: Subject) -> list[Callable[[Subject], None]]:
    """All of them."""
    del subject
    return [functions, split, merged_paths, merged, trained]


def functions(subject: Subject) -> None:
    """`make` gives AdapterFunctions."""
    made = subject.functions
    expect(
        isinstance(made, AdapterFunctions),
        f"make gives a {type(made).__name__}, not AdapterFunctions",
    )


def split(subject: Subject) -> None:
    """`split` is a function of the key and the parameters alone, and something is trained."""
    one, other = (subject.functions.split(jax.random.key(0), subject.params) for _ in range(2))
    expect(distance(one, other) == 0, "two calls with one key give two splits")
    expect(bool(jax.tree.leaves(one[0])), "it trains nothing")


def merged_paths(subject: Subject) -> None:
    """Merged parameters have the paths and shapes of the model's."""
    merged_params = subject.functions.merge(*subject.parts)
    for merged_leaf, param in zip(
        *(_shapes(tree) for tree in (merged_params, subject.params)), strict=False
    ):
        expect(
            merged_leaf == param, f"{' '.join(map(str, merged_leaf))} stands where {param[0]} is"
        )
    expect(
        jax.tree.structure(merged_params) == jax.tree.structure(subject.params),
        "merged parameters have other paths than the model",
    )


def merged(subject: Subject) -> None:
    """Merged parameters give the logits that the model has with the adapter."""
    with_adapter = subject.functions.variables(*subject.parts, jnp.float32)
    without = {"params": subject.functions.merge(*subject.parts)}
    size = distance(*(jax.jit(subject.logits)(variables) for variables in (without, with_adapter)))
    expect(size < TOLERANCE, f"logits change when it is merged ({size:.2g})")


def trained(subject: Subject) -> None:
    """The gradient of what is trained is finite, and not all 0."""
    parts = subject.parts

    def loss(part: PyTree) -> Array:
        logits = subject.logits(subject.functions.variables(part, parts[1], jnp.float32))
        return jax.nn.logsumexp(logits, axis=-1).sum() - logits[..., 0].sum()

    leaves = jax.tree.leaves(jax.jit(jax.grad(loss))(parts[0]))
    expect(all(bool(jnp.isfinite(leaf).all()) for leaf in leaves), "a gradient is not finite")
    expect(any(bool((leaf != 0).any()) for leaf in leaves), "all gradients are 0")


def _shapes(tree: PyTree) -> list[tuple[str, tuple[int, ...]]]:
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
