"""Layers divided over stages of devices: GPipe's schedule (1811.06965) as one program that all
devices run (2105.04663).

A batch is cut into M microbatches. In each of M + S - 1 ticks each of S stages applies its layers
to one microbatch and hands it to the next stage, so that a stage idles in S - 1 ticks: the share
(S - 1) / (M + S - 1) is the bubble. An idle stage computes on some microbatch all the same, as
zeros might give NaN, and the result is dropped. Stages are a leading axis of arrays, split over the
mesh axis "pipeline" and vmapped, and handing on is a roll along it, which XLA compiles to a
permutation between neighbours. The backward pass is the derivative of the loop, from its end: a
schedule that begins it earlier (1F1B) would need programs that differ by stage, and has the same
bubble.

Outside of the layers the rows of a batch are split over the stages too, so that embedding and head
are computed once. Inside, the stages hold equal numbers of microbatches, which rotate towards the
first stage as they are used, while finished ones enter behind the last.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core.scope import LazyRng
from jax import Array, lax
from jax.sharding import PartitionSpec as P

from lm_lab.nn import dropout
from lm_lab.nn.linear import constrain
from lm_lab.nn.splits import ANY, axis_of, rules_without, size_of
from lm_lab.types import PyTree, UserError

ROUNDS = 4  # microbatches of each stage, where no other number is asked for
_SHAPE = re.compile(r"_([A-Z][A-Z0-9a-z]*)$")

_asked: ContextVar[int | None] = ContextVar("microbatches", default=None)


@contextmanager
def microbatches(asked: int | None) -> Iterator[None]:
    """The context in which models are traced whose batches go through the stages in so many parts;
    None: ROUNDS times the stages, or as many times as the rows allow.
    """
    token = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(token)


def most_microbatches(stages: int) -> int:
    """Microbatches of a large batch, where no other number is asked for."""
    return ROUNDS * stages if stages > 1 else 1


def rounds_of(rows: int, stages: int, asked: int | None) -> int | None:
    """Microbatches of each of the stages, for the rows of a batch that a device has inside of the
    layers; None where stages, or the microbatches asked for, do not divide them.
    """
    if asked is not None:
        return asked // stages if rows % asked == 0 and asked % stages == 0 else None
    fits = [each for each in range(1, ROUNDS + 1) if rows % (stages * each) == 0]
    return max(fits, default=None)


class Cut(NamedTuple):
    """How the rows of a batch are cut into microbatches: B = groups x stages x rounds x rest, where
    a microbatch has rows of each group of devices.
    """

    rows: int  # B
    groups: int  # devices over which a microbatch is split
    stages: int  # S
    rounds: int  # microbatches of each stage, M / S

    @property
    def number(self) -> int:
        """Microbatches, M."""
        return self.stages * self.rounds

    def split(self, leaf: Array) -> Array:
        """[B ...] -> [S, M / S, B / M, ...]."""
        cut = leaf.reshape(self.groups, self.stages, self.rounds, -1, *leaf.shape[1:])
        cut = jnp.moveaxis(cut, 0, 2)
        return cut.reshape(self.stages, self.rounds, self.rows // self.number, *leaf.shape[1:])

    def join(self, parts: Array) -> Array:
        """The inverse of `split`."""
        cut = parts.reshape(self.stages, self.rounds, self.groups, -1, *parts.shape[3:])
        return jnp.moveaxis(cut, 2, 0).reshape(self.rows, *parts.shape[3:])

    def microbatch(self, index: Array, leaf: Array) -> Array:
        """The rows [B / M, ...] of a microbatch of a leaf [B ...]."""
        parts = self.split(leaf)
        return _pick(index, parts.reshape(self.number, *parts.shape[2:]))


def cut_of(rows: int) -> Cut:
    """How the mesh of the context cuts the rows of a batch. Raises UserError where it cannot."""
    stages = size_of("stage")
    groups = size_of("batch") // stages
    rounds = None if rows % groups else rounds_of(rows // groups, stages, _asked.get())
    if rounds is None:
        raise UserError(
            f"config.mesh.pipeline {stages} x {groups} devices and pipeline_microbatches do not "
            f"divide a batch of {rows} rows; choose others"
        )
    return Cut(rows, groups, stages, rounds)


class Kinds(NamedTuple):
    """What layers read beside the stream: each leaf is in one of the first two, under its
    number.
    """

    passed: dict[int, Array]  # [B ...]: goes from stage to stage with the stream
    whole: dict[int, Array]  # [S ...]: arrays without rows, one for each stage
    axes: dict[int, int]  # of rows in each leaf that has them
    structure: Any

    def join(self, passed: PyTree, whole: PyTree) -> PyTree:
        """The arguments of a layer, by the leaves that it sees of the first two fields."""
        leaves = {**passed, **whole}
        leaves |= {index: jnp.moveaxis(leaves[index], 0, axis) for index, axis in self.axes.items()}
        return jax.tree.unflatten(self.structure, [leaves[index] for index in sorted(leaves)])


def kinds_of(shared: PyTree, cut: Cut) -> Kinds:
    """Sorts the leaves. The axis of rows is that of the letter B where the name of a field says a
    shape, and else the first; a leaf has rows if it is as long there as the batch.
    """
    paths, structure = jax.tree.flatten_with_path(shared)
    kinds = Kinds({}, {}, {}, structure)
    for index, (path, leaf) in enumerate(paths):
        axis = _axis_of_rows(path)
        if axis is None or leaf.ndim <= axis or leaf.shape[axis] != cut.rows:
            kinds.whole[index] = _of_stages(jnp.stack([leaf] * cut.stages))
        else:
            kinds.axes[index], kinds.passed[index] = axis, jnp.moveaxis(leaf, axis, 0)
    return kinds


def _axis_of_rows(path: Any) -> int | None:
    key = path[-1]
    shape = _SHAPE.search(key.name) if isinstance(key, jax.tree_util.GetAttrKey) else None
    if shape is None:
        return 0
    return shape[1].find("B") if "B" in shape[1] else None


class Pipeline(nn.Module):
    """N layers divided over stages, with the parameters [N ...] of scanned layers: the stream
    [B ...] -> (the stream, None).
    """

    layer: Callable[[], nn.Module]
    depth: int
    scan: bool
    draws: bool  # whether layers draw random numbers

    def __call__(self, x_BLD: Array, *shared: PyTree) -> tuple[Array, None]:
        cut = cut_of(len(x_BLD))
        stages, rounds = cut.stages, cut.rounds
        kinds = kinds_of(shared, cut)
        held = {name: self.variables[name] for name in ("params", "lora") if name in self.variables}
        rng = self._rng()
        keys = None if rng is None else jax.random.split(rng.rng, self.depth)
        layers = jax.tree.map(partial(_by_stage, stages), (held, keys))
        number_S = jnp.arange(stages)

        def tick(carry: tuple[PyTree, PyTree], time: Array) -> tuple[PyTree, PyTree]:
            stream, handed = carry
            slot = time % rounds
            entering = jax.tree.map(partial(_pick, slot, axis=1), stream)
            inputs = _where(number_S == 0, entering, handed)
            index_S = (time - number_S).clip(0, cut.number - 1)
            outputs, losses = run(layers, kinds.whole, index_S, inputs)
            leaving = _where(number_S == stages - 1, outputs, _rolled(entering, -1))
            stream = jax.tree.map(partial(_put, slot), stream, leaving)
            return (stream, _rolled(outputs, 1)), losses

        # Inside of layers, rows are not split over the stages.
        with nn.logical_axis_rules(rules_without((axis_of("stage"),))):
            run = jax.vmap(partial(self._stage, cut, kinds), spmd_axis_name=axis_of("stage"))
            stream = jax.tree.map(lambda leaf: _of_stages(cut.split(leaf)), (x_BLD, kinds.passed))
            first = jax.tree.map(lambda leaf: leaf[:, 0], stream)
            times = jnp.arange(cut.number + stages - 1)
            ((parts, _), _), losses = lax.scan(tick, (stream, first), times)
        self._sow(cut, losses)
        return constrain(cut.join(jnp.roll(parts, 1 - stages, 1))), None

    def _rng(self) -> Any:
        """The generator of the "dropout" keys, from whose `rng` a scan over the layers would split
        those of each; None where there is none.
        """
        assert self.scope is not None
        return self.scope.rngs.get("dropout")

    def _stage(
        self, cut: Cut, kinds: Kinds, layers: PyTree, whole: PyTree, index: Array, inputs: PyTree
    ) -> tuple[PyTree, PyTree]:
        """One stage's layers on the microbatch with this index: ((stream, what goes with it), the
        losses that they sow [layers, B / M]).
        """
        block, rng, (x, passed) = self.layer(), self._rng(), inputs
        arguments = kinds.join(passed, whole)
        mutable = ["losses"] if self.is_mutable_collection("losses") else []
        drawn: dict[Any, Any] = {"dropout": 0}  # how often each module has drawn, for Linen

        def apply(x: Array, layer: PyTree) -> tuple[Array, PyTree]:
            variables, key = layer
            rngs: Any = None if key is None else {"dropout": LazyRng(key, rng.suffix)}
            bound = block.bind(variables, rngs=rngs, mutable=mutable)
            assert bound.scope is not None
            bound.scope.rng_counters = drawn
            x, _ = bound(x, *arguments)
            return x, bound.variables.get("losses", {})

        with dropout.seeing(dropout.Part(cut.rows, partial(cut.microbatch, index))):
            if self.draws:  # as Linen's scan does, which keeps what is drawn in its second trace
                jax.eval_shape(apply, x, jax.tree.map(lambda leaf: leaf[0], layers))
            unroll = 1 if self.scan else self.depth // cut.stages
            x, losses = lax.scan(apply, x, layers, unroll=unroll)
        return (x, passed), losses

    def _sow(self, cut: Cut, losses: PyTree) -> None:
        """Sows the losses of the layers [N, B], of those of each tick [T, S, layers, B / M]."""
        number_S = jnp.arange(cut.stages)
        time_MS = jnp.arange(cut.number)[:, None] + number_S

        def joined(leaf: Array) -> Array:
            parts = jnp.moveaxis(leaf[time_MS, number_S], 3, 1)  # [M, B / M, S, layers ...]
            parts = parts.reshape(cut.stages, cut.rounds, *parts.shape[1:])
            whole = cut.join(parts)
            return jnp.moveaxis(whole.reshape(cut.rows, self.depth, *whole.shape[3:]), 0, 1)

        for name, leaf in jax.tree.map(joined, losses).items():
            self.put_variable("losses", name, leaf)


def _by_stage(stages: int, leaf: Array) -> Array:
    return _of_stages(leaf.reshape(stages, -1, *leaf.shape[1:]))


def _of_stages(leaf: Array) -> Array:
    """An array [S ...], split over the stages."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    return lax.with_sharding_constraint(leaf, P(axis_of("stage"), *[ANY] * (leaf.ndim - 1)))


def _pick(index: Array, leaf: Array, axis: int = 0) -> Array:
    return lax.dynamic_index_in_dim(leaf, index, axis, keepdims=False)


def _put(slot: Array, leaf: Array, part: Array) -> Array:
    return lax.dynamic_update_index_in_dim(leaf, part, slot, 1)


def _rolled(tree: PyTree, by: int) -> PyTree:
    """Each leaf [S ...], handed to the stage that is `by` behind."""
    return jax.tree.map(lambda leaf: _of_stages(jnp.roll(leaf, by, 0)), tree)


def _where(is_S: Array, one: PyTree, other: PyTree) -> PyTree:
    def pick(a: Array, b: Array) -> Array:
        return jnp.where(is_S.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, one, other)
