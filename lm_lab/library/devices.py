"""The devices that a command computes on; what they refuse, in one line."""

import contextlib
from collections.abc import Iterator

import jax

from lm_lab.engine import sharding
from lm_lab.types import UserError

VIRTUAL = 2048  # CPU devices in a process; JAX takes those beyond for another process's


def start(mesh: sharding.Config) -> None:
    """Makes the devices of the mesh be there, unless JAX has begun to compute: then they are what
    they are. Raises UserError where JAX does not start.
    """
    if mesh.devices > VIRTUAL:
        raise UserError(
            f"config.mesh asks for {mesh.devices} devices; at most {VIRTUAL} can be had, lower its "
            "sizes"
        )
    if mesh.devices > 1:
        with contextlib.suppress(RuntimeError):  # JAX has begun: a mesh of more devices is refused
            sharding.provide_devices(mesh)
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
    """Turns a device's refusal of memory into a UserError."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "Out of memory" not in str(error):
            raise
        first = str(error).splitlines()[0]
        raise UserError(f"out of memory ({first}); {remedy}") from None
