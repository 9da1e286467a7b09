"""The one place that knows meshes: their axes, what lies where, and how arrays get there."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lm_lab.engine import placement
from lm_lab.engine.placement import ROWS
from lm_lab.engine.placement import unbox as unbox
from lm_lab.engine.state import Slots, TrainState, divide, unite
from lm_lab.nn import pipeline
from lm_lab.schema import Condition, setting
from lm_lab.types import PyTree, UserError

AXES = ("population", "replica", "pipeline", "data", "fsdp", "expert", "sequence", "tensor")

# The logical axes of activations; those of parameters and of all that is stored: placement.rules.
RULES = (
    ("batch", ROWS),
    ("expert_rows", tuple(axis for axis in ROWS if axis != "expert")),
    ("expert", "expert"),
    ("vocab", "tensor"),
    ("length", "sequence"),
    ("stage", "pipeline"),
    ("member", "population"),
)


def _devices(doc: str) -> int:
    return setting(doc, 1, low=1, changes_result=False)


@dataclass(frozen=True)
class Config:
    """The fields of a config's mesh section: devices along each axis, and what `data` splits."""

    population: int = _devices("devices over which the members of a population are spread")
    replica: int = _devices(
        "devices over which the batch alone is split: copies of the rest, over the slowest links"
    )
    pipeline: int = _devices(
        "devices over which layers are divided into stages (1811.06965), and the batch outside of "
        "them"
    )
    pipeline_microbatches: int | None = setting(
        "parts of a batch that go through the stages one after another; None: four times as many "
        "as stages, or as the rows allow",
        None,
        low=1,
        changes_result=False,
        read_with=Condition("pipeline above 1", lambda config: config.pipeline > 1),
    )
    data: int = _devices("devices over which the batch is split, and what zero says")
    zero: int = setting(
        "what data splits beside the batch (1910.02054): 0 nothing, 1 the optimizer's state, "
        "2 gradients too, 3 parameters too",
        0,
        low=0,
        high=3,
        changes_result=False,
    )
    fsdp: int = _devices(
        "devices over which the batch and the parameters are split (1910.02054, stage 3)"
    )
    expert: int = _devices(
        "devices over which the batch and the experts of a mixture are split (2006.16668)"
    )
    sequence: int = _devices(
        "devices over which the positions of a row are split: attention gathers keys and values, "
        "linear recurrences pass their states on"
    )
    tensor: int = _devices(
        "devices over which heads, feed-forward and vocabulary are split (1909.08053)"
    )

    @property
    def sizes(self) -> dict[str, int]:
        """Devices along each axis, the outermost first."""
        return {axis: getattr(self, axis) for axis in AXES}

    @property
    def devices(self) -> int:
        """Devices in all."""
        return math.prod(self.sizes.values())

    @property
    def row_devices(self) -> int:
        """Devices over which the rows of a batch are split."""
        return math.prod(self.sizes[axis] for axis in ROWS)

    @property
    def least_rows(self) -> int:
        """Rows of the smallest batch that goes through the mesh, which divides all others."""
        return self.row_devices // self.pipeline * (self.pipeline_microbatches or self.pipeline)


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
        sizes = " x ".join(f"{name} {size}" for name, size in config.sizes.items())
        have = f"the {processes} processes have" if processes > 1 else "there are"
        raise UserError(
            f"config.mesh asks for {config.devices} devices ({sizes}); {have} {count}: change the "
            "sizes of config.mesh, such as data, so that their product is that"
        )
    types = (AxisType.Auto,) * len(AXES)
    shape, devices = tuple(config.sizes.values()), jax.devices()[: config.devices]
    return jax.make_mesh(shape, AXES, axis_types=types, devices=devices)


def microbatches(config: Config, rows: int) -> int | None:
    """Parts in which the rows of a batch go through the stages; None where they cannot."""
    asked = config.pipeline_microbatches
    inner = rows * config.pipeline // config.row_devices
    rounds = pipeline.rounds_of(inner, config.pipeline, asked)
    return None if rounds is None else rounds * config.pipeline


def row_unit(config: Config) -> int:
    """The number of rows by multiples of which batches grow evenly on every device."""
    return (
        config.row_devices
        // config.pipeline
        * (config.pipeline_microbatches or pipeline.most_microbatches(config.pipeline))
    )


def bubble(config: Config, rows: int) -> float:
    """The share of a step in which a stage has no microbatch of the rows of a batch."""
    parts = microbatches(config, rows)
    assert parts is not None  # check_fit
    return (config.pipeline - 1) / (parts + config.pipeline - 1)


def pinned(config: Config, boxed: PyTree, kind: str) -> Callable[[PyTree], PyTree] | None:
    """A function that pins trees like these parameters, abstract and boxed, to where stage `zero`
    wants "gradients" or "parameters"; None without stages, which leave them to the compiler.
    """
    if not config.zero:
        return None
    specs = _specs(boxed, config.zero, kind, config.sizes)

    def place(tree: PyTree) -> PyTree:
        if jax.sharding.get_abstract_mesh().empty:  # traced alone, as where FLOPs are counted
            return tree
        return jax.tree.map(jax.lax.with_sharding_constraint, tree, specs)

    return place


def whole_gradient_axes(config: Config) -> tuple[str, ...]:
    """The axes of several devices that split the rows of a batch, and along which each device has
    whole gradients: a loop over parts of the batch can leave the sum over them to its end.
    """
    data = 1 if config.zero >= placement.GRADIENTS else config.data
    sizes = {"replica": config.replica, "data": data}
    return tuple(axis for axis, size in sizes.items() if size > 1)


def of_rows(leaf: Any) -> nn.LogicallyPartitioned:
    """An array [B ...] in a box that says so: it is split over devices as the batch is."""
    return nn.LogicallyPartitioned(leaf, ("batch", *(None,) * (leaf.ndim - 1)))


def state_shardings(mesh: Mesh, boxed: TrainState, zero: int = 0) -> TrainState:
    """A NamedSharding for each leaf of an abstract state of one run whose boxes carry logical axes,
    at a stage of ZeRO.

    A dimension that a mesh axis does not divide is whole along it.
    """
    placed = placement.state_places(boxed, zero, mesh.shape)
    return jax.tree.map(
        lambda each: NamedSharding(mesh, each.spec), placed, is_leaf=placement.is_place
    )


def params_shardings(mesh: Mesh, boxed: PyTree, zero: int = 0, kind: str = "parameters") -> PyTree:
    """A NamedSharding for each leaf of an abstract, boxed tree of "parameters" or their
    "gradients", as `state_shardings`.
    """
    specs = _specs(boxed, zero, kind, mesh.shape)
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)


def _specs(boxed: PyTree, zero: int, kind: str, sizes: Mapping[str, int]) -> PyTree:
    return placement.specs(placement.places(boxed, placement.rules(zero, kind), sizes))


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


def examples_sharding(mesh: Mesh) -> NamedSharding:
    """For examples P K B S: members over "population", rows over ROWS."""
    return NamedSharding(mesh, P("population", None, ROWS))


def eval_set_sharding(mesh: Mesh) -> NamedSharding:
    """For batches n B S that all members are evaluated on: rows over ROWS."""
    return NamedSharding(mesh, P(None, ROWS))


def rows_sharding(mesh: Mesh) -> NamedSharding:
    """For one batch B S: rows over ROWS."""
    return NamedSharding(mesh, P(ROWS))


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


def anywhere(flag: bool, mesh: Mesh) -> bool:
    """Whether the flag is set in any of the processes that have the mesh; each must call this."""
    if not is_shared(mesh):
        return flag
    place = NamedSharding(mesh, P(AXES))
    flags = jax.make_array_from_callback((mesh.size,), place, lambda _: np.array([flag]))
    return bool(jax.jit(jnp.any, out_shardings=everywhere(mesh))(flags))


@contextmanager
def use(mesh: Mesh, microbatches: int | None = None) -> Iterator[None]:
    """The context in which functions are traced for the mesh: their logical axes mean its axes, and
    batches go through its stages in so many `microbatches` (`pipeline_microbatches`).

    A function traced outside of it is another program to JAX, and is compiled again. One device
    needs no rules for logical axes.
    """
    rules = nn.logical_axis_rules(RULES) if mesh.size > 1 else nullcontext()
    with jax.set_mesh(mesh), rules, pipeline.microbatches(microbatches):
        yield
