"""The one place that knows meshes: logical axes (nn/linear.py) onto mesh axes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import astuple, dataclass
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.linen import spmd
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lm_lab.engine.state import FROZEN, Slots, TrainState, divide, unite
from lm_lab.schema import setting
from lm_lab.types import PyTree, UserError

AXES = ("population", "data", "fsdp", "tensor")

RULES = (
    ("batch", ("data", "fsdp")),
    ("width", "fsdp"),
    ("inner", "tensor"),
    ("vocab", "tensor"),
    ("expert", None),  # every device has a part of each expert, so their number does not matter
    ("length", None),
    ("layers", None),
)


@dataclass(frozen=True)
class Config:
    """The fields of a config's mesh section: devices along each axis."""

    population: int = setting(
        "devices over which the members of a population are spread", 1, low=1, changes_result=False
    )
    data: int = setting("devices over which the batch is split", 1, low=1, changes_result=False)
    fsdp: int = setting(
        "devices over which the batch and the parameters are split (1910.02054, stage 3)",
        1,
        low=1,
        changes_result=False,
    )
    tensor: int = setting(
        "devices over which heads, feed-forward and vocabulary are split (1909.08053)",
        1,
        low=1,
        changes_result=False,
    )

    @property
    def devices(self) -> int:
        """Devices in all."""
        return math.prod(astuple(self))


def provide_devices(config: Config, processes: int = 1) -> None:
    """Splits the CPU into this process's part of the devices that the mesh asks for; the number of
    accelerators cannot be changed. Call it before any computation.
    """
    jax.config.update("jax_num_cpu_devices", max(config.devices // processes, 1))


def make_mesh(config: Config) -> Mesh:
    """The mesh of a config over the first devices; over all of them where several processes have
    them. Raises UserError where there are too few, or some that several processes would not use.
    """
    count, processes = jax.device_count(), jax.process_count()
    if config.devices > count or (processes > 1 and config.devices < count):
        sizes = " x ".join(f"{name} {size}" for name, size in zip(AXES, astuple(config)))
        have = f"the {processes} processes have" if processes > 1 else "there are"
        raise UserError(f"config.mesh asks for {config.devices} devices ({sizes}); {have} {count}")
    types = (AxisType.Auto,) * len(AXES)
    return jax.make_mesh(
        astuple(config), AXES, axis_types=types, devices=jax.devices()[: config.devices]
    )


def check_fit(config: Config, rows: int, members: int) -> None:
    """Raises UserError where the mesh does not divide the rows of a
    (micro)batch, or the members.
    """
    if rows % (config.data * config.fsdp):
        raise UserError(
            f"config.mesh: data {config.data} x fsdp {config.fsdp} do not divide the {rows} "
            "rows of a microbatch; "
            "change config.train.batch_size or the mesh"
        )
    if members % config.population:
        raise UserError(
            f"config.mesh.population {config.population} does not divide the {members} runs; "
            "set it to 1"
        )


def check_split(config: Config, state: TrainState, heads: int | None) -> None:
    """Raises UserError where an axis of the mesh was asked for and splits no parameters, or splits
    heads unevenly.

    `state` is abstract and boxed. A dimension that its axis does not divide is whole on each
    device.
    """
    held = (state.params, state.slots[FROZEN])
    leaves = jax.tree_util.tree_leaves_with_path(unbox(held))
    attends = any("attention" in jax.tree_util.keystr(path) for path, _ in leaves)
    if heads is not None and attends and heads % config.tensor:
        raise UserError(
            f"config.mesh.tensor {config.tensor} does not divide config.model.heads {heads}; "
            "lower it"
        )
    named = nn.get_partition_spec(held)
    names = jax.tree.leaves(named, is_leaf=_is_spec)
    specs = jax.tree.leaves(spmd.logical_to_mesh(named, RULES), is_leaf=_is_spec)
    for axis, count in (("fsdp", config.fsdp), ("tensor", config.tensor)):
        sizes = {
            (name, size)
            for (_, leaf), of_leaf, spec in zip(leaves, names, specs)
            for name, size, split in zip(of_leaf, leaf.shape, spec)
            if split == axis
        }
        if count > 1 and all(size % count for _, size in sizes):
            listed = ", ".join(f"{name} {size}" for name, size in sorted(sizes)) or "none"
            raise UserError(
                f"config.mesh.{axis} {count} divides no dimension of the parameters that it is "
                f"to split ({listed}); choose a divisor, or set it to 1"
            )


def _is_spec(node: Any) -> bool:
    return isinstance(node, P)


def of_rows(leaf: Any) -> nn.LogicallyPartitioned:
    """An array [B ...] in a box that says so: it is split over devices as the batch is."""
    return nn.LogicallyPartitioned(leaf, ("batch", *(None,) * (leaf.ndim - 1)))


def unbox(tree: PyTree) -> PyTree:
    """The tree without the boxes in which Linen keeps logical axes.

    Linen's own `unbox` would also constrain each value to the mesh of the context, which shapes
    without a value have not; where arrays are to lie is said by `state_shardings`.
    """

    def value(leaf: Any) -> Any:
        return unbox(leaf.unbox(apply_constraint=False)) if _is_box(leaf) else leaf

    return jax.tree.map(value, tree, is_leaf=_is_box)


def _is_box(node: Any) -> bool:
    return isinstance(node, nn.Partitioned)


def state_shardings(mesh: Mesh, boxed: TrainState) -> TrainState:
    """A NamedSharding for each leaf of an abstract state of one run whose boxes carry logical axes.

    A dimension that its mesh axes do not divide is whole on each device.
    """
    specs = spmd.logical_to_mesh(nn.get_partition_spec(boxed), RULES)

    def sharding(leaf: jax.ShapeDtypeStruct, spec: P) -> NamedSharding:
        axes = [
            axis if size % _size(mesh, axis) == 0 else None for size, axis in zip(leaf.shape, spec)
        ]
        return NamedSharding(mesh, P(*axes))

    return jax.tree.map(sharding, unbox(boxed), specs, is_leaf=_is_spec)


def population_shardings(placed: TrainState, slots: Slots) -> TrainState:
    """The shardings of a population's state, by those of one run: members over "population"."""

    def with_members(placed: NamedSharding) -> NamedSharding:
        return NamedSharding(placed.mesh, P("population", *placed.spec))

    own, shared = divide(placed, slots)
    return unite(jax.tree.map(with_members, own), shared)


def abstract(tree: PyTree, placed: PyTree) -> PyTree:
    """Shapes, dtypes and shardings of a tree of arrays or ShapeDtypeStructs."""
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        tree,
        placed,
    )


def _size(mesh: Mesh, axis: str | tuple[str, ...] | None) -> int:
    names = (axis,) if isinstance(axis, str) else axis or ()
    return math.prod(mesh.shape[name] for name in names)


def examples_sharding(mesh: Mesh) -> NamedSharding:
    """For examples P K B S: members over "population", rows over "data" and "fsdp"."""
    return NamedSharding(mesh, P("population", None, ("data", "fsdp")))


def eval_set_sharding(mesh: Mesh) -> NamedSharding:
    """For batches n B S that all members are evaluated on: rows over "data" and "fsdp"."""
    return NamedSharding(mesh, P(None, ("data", "fsdp")))


def is_shared(mesh: Mesh) -> bool:
    """Whether several processes have the devices of the mesh, so that none addresses all arrays."""
    return len(mesh.local_devices) < mesh.size


def own_indices(place: NamedSharding, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Along each axis of an array of this shape, the indices that devices of this process hold, in
    order.
    """
    parts = place.addressable_devices_indices_map(shape).values()
    return [
        np.unique(np.concatenate([np.arange(size)[part[axis]] for part in parts if part]))
        for axis, size in enumerate(shape)
    ]


def from_own(tree: PyTree, place: NamedSharding, shape: tuple[int, ...]) -> PyTree:
    """Arrays over the devices of all processes, whose first axes are of `shape`, from what each
    process has on its host of them: the entries at its `own_indices`.
    """
    own = own_indices(place, shape)

    def made(leaf: np.ndarray) -> jax.Array:
        def shard(index: Any) -> np.ndarray:
            ranges = [range(size)[part] for part, size in zip(index, shape)]
            begins = [int(np.searchsorted(held, part[0])) for held, part in zip(own, ranges)]
            return leaf[tuple(slice(b, b + len(part)) for b, part in zip(begins, ranges))]

        return jax.make_array_from_callback((*shape, *leaf.shape[len(shape) :]), place, shard)

    return jax.tree.map(made, tree)


def put(tree: PyTree, place: NamedSharding) -> PyTree:
    """Arrays of the host, which every process has whole, on the devices."""
    if place.is_fully_addressable:
        return jax.device_put(tree, place)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_callback(leaf.shape, place, lambda part: leaf[part]), tree
    )


def everywhere(mesh: Mesh) -> NamedSharding | None:
    """For results that the host reads: whole on each device where several processes have the mesh,
    so that each can read them; else as the compiler likes.
    """
    return NamedSharding(mesh, P()) if is_shared(mesh) else None


def on_each(tree: PyTree, mesh: Mesh) -> PyTree:
    """The arrays as this process can use them alone: where several processes have the mesh, whole
    on its first device.
    """
    if not is_shared(mesh):
        return tree
    whole = jax.jit(lambda tree: tree, out_shardings=everywhere(mesh))(tree)
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), whole)


@contextmanager
def use(mesh: Mesh) -> Iterator[None]:
    """The context in which functions are traced for the mesh: their logical axes mean its axes.

    A function traced outside of it is another program to JAX, and is compiled again. One device
    needs no rules for logical axes.
    """
    rules = nn.logical_axis_rules(RULES) if mesh.size > 1 else nullcontext()
    with jax.set_mesh(mesh), rules:
        yield
