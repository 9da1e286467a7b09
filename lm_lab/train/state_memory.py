"""Whether the train states of runs fit into memory: checked when sizes are known, before anything
is compiled.
"""

import math

import jax
from jax.sharding import Mesh

from lm_lab.compute.memory import bytes_of
from lm_lab.engine.state import FROZEN, Slots, TrainState, divide
from lm_lab.runs import reading
from lm_lab.types import UserError


def of_a_device(mesh: Mesh) -> float:
    """The bytes of memory that a device of the mesh has, infinite where it does not say. The
    devices of a CPU share the machine's memory.
    """
    device = mesh.local_devices[0]
    if device.platform == "cpu":
        return reading.memory_bytes() / len(mesh.local_devices)
    return (device.memory_stats() or {}).get("bytes_limit", math.inf)


def check(state: TrainState, slots: Slots, mesh: Mesh, members: int) -> None:
    """Raises UserError where the states of all members, each with the shapes and shardings of
    `state`, are larger than the memory of their devices.

    Activations, gradients and copies are not counted, as only the compiler knows them.
    """
    own, shared = divide(state, slots)
    each = math.ceil(members / mesh.shape["population"])
    needed = each * bytes_of(own) + bytes_of(shared)
    room = of_a_device(mesh)
    if needed > room:
        if mesh.devices.flat[0].platform == "cpu":
            needed, room = needed * len(mesh.local_devices), reading.memory_bytes()
        count = sum(leaf.size for leaf in jax.tree.leaves((state.params, state.slots[FROZEN])))
        runs = f" in {members} runs" if members > 1 else ""
        raise UserError(
            f"config.model: {count:,} parameters and the optimizer's state take "
            f"{needed / 1e9:,.3g} GB{runs}, and the "
            f"memory at hand is {room / 1e9:,.3g} GB; make the model smaller, or raise "
            "config.mesh.fsdp on more devices"
        )
