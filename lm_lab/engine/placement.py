"""Where the leaves of a train state lie on a mesh: logical axes (nn/linear.py) onto mesh axes."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec as P

from lm_lab.engine.state import FROZEN, TrainState
from lm_lab.types import PyTree

Axes = tuple[str, ...]  # of a mesh
Rules = Mapping[str, Axes]  # by logical axis; one without axes is whole on each device

# the axes over which a batch is split; stages last, as nn/pipeline.py cuts rows
ROWS: Axes = ("replica", "data", "fsdp", "expert", "pipeline")
SPLIT = 1  # the stages of ZeRO: the optimizer's state is split over "data",
GRADIENTS = 2  # and gradients,
PARAMETERS = 3  # and parameters


def rules(zero: int, kind: str) -> Rules:
    """The rules for "parameters", "gradients", or "optimizer", which is all that is stored beside
    parameters, with stage `zero` of ZeRO (1910.02054) over the axis "data".
    """
    stage = {"optimizer": SPLIT, "gradients": GRADIENTS, "parameters": PARAMETERS}[kind]
    width: Axes = ("fsdp", "data") if zero >= stage else ("fsdp",)
    others: dict[str, Axes] = {"inner": ("tensor",), "vocab": ("tensor",), "expert": ("expert",)}
    return {"batch": ROWS, "layers": ("pipeline",), "width": width, **others}


class Undivided(NamedTuple):
    """A dimension that a mesh axis was to split and does not divide: it is whole along that axis.

    `size` is what the axes before it leave.
    """

    mesh_axis: str
    devices: int
    logical: str
    size: int


class Place(NamedTuple):
    """Where a leaf lies."""

    spec: P
    undivided: tuple[Undivided, ...]


def place(
    shape: tuple[int, ...], names: tuple[Any, ...], rules: Rules, sizes: Mapping[str, int]
) -> Place:
    """The place of an array whose axes have these logical names, on a mesh of these sizes.

    An axis of the mesh that does not divide its dimension is left out.
    """
    spec: list[Any] = []
    undivided: list[Undivided] = []
    for size, logical in zip(shape, names):
        held: list[str] = []
        for axis in rules.get(logical, ()):
            left = size // math.prod(sizes[each] for each in held)
            if left % sizes[axis]:
                undivided.append(Undivided(axis, sizes[axis], logical, left))
            else:
                held.append(axis)
        spec.append(held[0] if len(held) == 1 else tuple(held) or None)
    return Place(P(*spec), tuple(undivided))


def places(boxed: PyTree, rules: Rules, sizes: Mapping[str, int]) -> PyTree:
    """The Place of each leaf of an abstract tree whose boxes carry logical axes."""

    def of(leaf: jax.ShapeDtypeStruct, names: P | None) -> Place:
        return place(leaf.shape, tuple(names or ()), rules, sizes)

    return jax.tree.map(of, unbox(boxed), nn.get_partition_spec(boxed))


def state_places(boxed: TrainState, zero: int, sizes: Mapping[str, int]) -> TrainState:
    """The Place of each leaf of an abstract state of one run: parameters, trained and frozen, by
    the rules of parameters, all else by those of the optimizer's state.
    """
    frozen = {name: each for name, each in boxed.slots.items() if name == FROZEN}
    params, frozen = places((boxed.params, frozen), rules(zero, "parameters"), sizes)
    placed = places(beside_params(boxed), rules(zero, "optimizer"), sizes)
    return placed._replace(params=params, slots={**placed.slots, **frozen})


def beside_params(state: TrainState) -> TrainState:
    """A state without its parameters, trained and frozen."""
    slots = {name: () if name == FROZEN else each for name, each in state.slots.items()}
    return state._replace(params=(), slots=slots)


def is_place(node: Any) -> bool:
    """Whether a node of a tree is a Place."""
    return isinstance(node, Place)


def specs(placed: PyTree) -> PyTree:
    """The specs of a tree of places."""
    return jax.tree.map(lambda each: each.spec, placed, is_leaf=is_place)


def splits(placed: PyTree, axis: str) -> bool:
    """Whether an axis of the mesh splits a leaf of a tree of places."""
    leaves = jax.tree.leaves(placed, is_leaf=is_place)
    return any(axis in _names(part) for each in leaves for part in each.spec)


def undivided(placed: PyTree) -> Iterator[tuple[str, Undivided]]:
    """(path, what is undivided) of the leaves of a tree of places."""
    for path, each in jax.tree_util.tree_leaves_with_path(placed, is_leaf=is_place):
        for found in each.undivided:
            yield "/".join(_key(part) for part in path), found


def _names(part: Any) -> Axes:
    return (part,) if isinstance(part, str) else part or ()


def _key(part: Any) -> str:
    if isinstance(part, jax.tree_util.DictKey):
        return str(part.key)
    return str(part.name if isinstance(part, jax.tree_util.GetAttrKey) else part.idx)


def unbox(tree: PyTree) -> PyTree:
    """The tree without the boxes in which Linen keeps logical axes.

    Linen's own `unbox` would also constrain each value to the mesh of the context, which shapes
    without a value have not; where arrays are to lie is said by `state_places`.
    """

    def value(leaf: Any) -> Any:
        return unbox(leaf.unbox(apply_constraint=False)) if _is_box(leaf) else leaf

    return jax.tree.map(value, tree, is_leaf=_is_box)


def _is_box(node: Any) -> bool:
    return isinstance(node, nn.Partitioned)
