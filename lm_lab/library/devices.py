"""Starts the devices of a command, and turns errors of devices into one line."""

import contextlib
from collections.abc import Iterator

import jax

from lm_lab.engine import sharding
from lm_lab.runs import peers
from lm_lab.types import UserError

# largest number of CPU devices in a process; JAX takes more for those of another process
VIRTUAL = 2048


def start(mesh: sharding.Config) -> None:
    """Starts the devices of the mesh, unless JAX has begun to compute, which fixes its devices.

    Raises UserError if JAX does not start.
    """
    if mesh.devices > VIRTUAL:
        raise UserError(
            f"config.mesh asks for {mesh.devices} devices; at most {VIRTUAL} can be had, lower its "
            "sizes"
        )
    if mesh.devices > 1:
        with contextlib.suppress(RuntimeError):  # JAX has begun: a mesh of more devices is refused
            sharding.provide_devices(mesh, peers.count())
    try:
        jax.devices()
    except RuntimeError as error:
        raise UserError(
            f"JAX does not start here: {error}; check JAX_PLATFORMS and the installation"
        ) from None


@contextlib.contextmanager
def memory(
    remedy: str = "lower config.train.batch_size or the model, or raise config.train.microbatches",
) -> Iterator[None]:
    """Turns a device's out-of-memory error into a UserError."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "Out of memory" not in str(error):
            raise
        first = str(error).splitlines()[0]
        raise UserError(f"out of memory ({first}); {remedy}") from None
