"""Whether a mesh divides what it is to split: each error names the axis and the dimension."""

import jax

from lm_lab.engine import placement, sharding
from lm_lab.engine.placement import ROWS
from lm_lab.engine.state import FROZEN, TrainState
from lm_lab.types import PyTree, UserError
from lm_lab.values import first_few


def check_fit(config: sharding.Config, rows: int, members: int, length: int = 0) -> None:
    """Raises UserError where the mesh does not divide the rows of a (micro)batch, the positions of
    a row, or the members.
    """
    if rows % config.row_devices:
        raise UserError(
            f"config.mesh: {_listed(config, ROWS)} do not divide the {rows} rows of a microbatch; "
            "change config.train.batch_size or the mesh"
        )
    _check_microbatches(config, rows)
    if length % config.sequence:
        raise UserError(
            f"config.mesh.sequence {config.sequence} does not divide the {length} positions of a "
            "row; change it, or config.data.length"
        )
    if members % config.population:
        raise UserError(
            f"config.mesh.population {config.population} does not divide the {members} runs; "
            "set it to 1"
        )


def _check_microbatches(config: sharding.Config, rows: int) -> None:
    if config.pipeline > 1 and sharding.microbatches(config, rows) is None:
        asked, stages = config.pipeline_microbatches, config.pipeline
        inner = rows * stages // config.row_devices
        raise UserError(
            f"config.mesh.pipeline_microbatches {asked} is no multiple of config.mesh.pipeline "
            f"{stages} that divides the {inner} rows that its stages share; choose one, or leave "
            "it out"
        )


def _listed(config: sharding.Config, axes: tuple[str, ...]) -> str:
    used = [axis for axis in axes if config.sizes[axis] > 1 or axis in ("data", "fsdp")]
    return " x ".join(f"{axis} {config.sizes[axis]}" for axis in used)


def check_split(config: sharding.Config, state: TrainState, heads: int | None) -> None:
    """Raises UserError where an axis of the mesh was asked for and splits nothing, or splits heads
    unevenly.

    `state` is abstract and boxed. `whole` lists the dimensions that an axis does not divide.
    """
    held = (state.params, state.slots[FROZEN])
    leaves = jax.tree_util.tree_leaves_with_path(sharding.unbox(held))
    attends = any("attention" in jax.tree_util.keystr(path) for path, _ in leaves)
    if heads is not None and attends and heads % config.tensor:
        raise UserError(
            f"config.mesh.tensor {config.tensor} does not divide config.model.heads {heads}; "
            "lower it"
        )
    placed = placement.state_places(state, config.zero, config.sizes)
    params = (placed.params, placed.slots[FROZEN])
    if config.pipeline > 1:
        _check_stages(config.pipeline, params)
    for axis in ("fsdp", "expert", "tensor"):
        count = config.sizes[axis]
        if count > 1 and not placement.splits(params, axis):
            left = (each for _, each in placement.undivided(params) if each.mesh_axis == axis)
            sizes = {(each.logical, each.size) for each in left}
            listed = ", ".join(f"{name} {size}" for name, size in sorted(sizes)) or "none"
            raise UserError(
                f"config.mesh.{axis} {count} divides no dimension of the parameters that it is "
                f"to split ({listed}); choose a divisor, or set it to 1"
            )
    _check_zero(config, placed)


def _check_stages(stages: int, params: tuple[PyTree, ...]) -> None:
    for path, each in (found for tree in params for found in placement.undivided(tree)):
        if each.mesh_axis == "pipeline":
            raise UserError(
                f"config.mesh.pipeline {stages} does not divide the {each.size} layers of {path}; "
                "change it, or config.model.depth"
            )
    if not placement.splits(params, "pipeline"):
        raise UserError("config.mesh.pipeline divides layers, and the model has none; set it to 1")


def _check_zero(config: sharding.Config, placed: TrainState) -> None:
    if not config.zero:
        return
    if config.data == 1:
        raise UserError(
            f"config.mesh.zero {config.zero} says what config.mesh.data splits, which is 1; raise "
            "data, or leave zero out"
        )
    if not placement.splits((placement.beside_params(placed), placed.params), "data"):
        raise UserError(
            f"config.mesh.zero {config.zero}: config.mesh.data {config.data} divides no width of "
            "what is stored, or nothing is stored; choose a divisor, or leave zero out"
        )


def whole(config: sharding.Config, state: TrainState) -> list[str]:
    """A line for each dimension that an axis was to split and does not divide, and whose parameters
    are therefore whole along that axis.

    `state` is abstract and boxed.
    """
    placed = placement.state_places(state, config.zero, config.sizes)
    found: dict[placement.Undivided, list[str]] = {}
    for path, each in placement.undivided(placed.params):
        found.setdefault(each, []).append(path)
    return [
        f"config.mesh.{each.mesh_axis} {each.devices} does not divide {each.logical} {each.size} "
        f"of {first_few(paths)}: whole on each of its devices"
        for each, paths in found.items()
    ]
