"""Whether what runs keep has room in the memory at hand: asked once sizes are known, before
anything is compiled.
"""

import math
from typing import Any

import jax

from lm_lab.compute.memory import bytes_of
from lm_lab.engine import sharding
from lm_lab.runs import reading
from lm_lab.types import TrainState, UserError


def check(state: TrainState, mesh: Any, members: int) -> None:
    """Raises UserError where the states of all members (of one it is given, abstract and boxed) are
    larger than the memory of their devices.

    What a step needs beside (activations, gradients, copies) the compiler plans, and is not
    counted. The devices of a CPU share the machine's memory.
    """
    held = sharding.unbox(state)
    placed = jax.tree.map(
        lambda leaf, own: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=own),
        held,
        sharding.state_shardings(mesh, state, 1),
    )
    each = math.ceil(members / mesh.shape["population"])  # members may share what is frozen
    needed = each * bytes_of((placed.params, placed.opt_state)) + bytes_of(placed.frozen)
    devices = mesh.devices.flatten()
    if devices[0].platform == "cpu":
        needed, room = needed * len(devices), reading.memory_bytes()
    else:
        room = (devices[0].memory_stats() or {}).get("bytes_limit", math.inf)
    if needed > room:
        count = sum(leaf.size for leaf in jax.tree.leaves((held.params, held.frozen)))
        runs = f" in {members} runs" if members > 1 else ""
        raise UserError(
            f"config.model: {count:,} parameters and the optimizer's state take "
            f"{needed / 1e9:,.3g} GB{runs}, and the "
            f"memory at hand is {room / 1e9:,.3g} GB; make the model smaller, or raise "
            "config.mesh.fsdp on more devices"
        )
