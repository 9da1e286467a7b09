"""The processes that train a run together, one or several on each host: which of them is the first,
and what it tells the others.

Small values pass through the key-value store of JAX's coordination service. That needs no device,
so a thread may use it while the devices compute.
"""

import contextlib
import itertools
import pickle
from collections.abc import Callable
from typing import TypeVar

import jax

# JAX has no public door to its key-value store; Orbax reads it from there as well.
from jax._src import distributed

from lm_lab.types import UserError

Value = TypeVar("Value")

MOST_SECONDS = 24 * 3600  # that a process waits for another; train/liveness.py ends it if one dies
KEPT = 10_000  # newest values in the store: no process is as far behind another
_NUMBERS = itertools.count()


def count() -> int:
    """How many processes there are; 1 unless a launch has joined several."""
    return distributed.global_state.num_processes if distributed.global_state.client else 1


def index() -> int:
    """The number of this process, from 0."""
    return distributed.global_state.process_id


def is_first() -> bool:
    """Whether this process writes what the run leaves on the disk and on the terminal."""
    return index() == 0


def post(key: str, value: object) -> None:
    """Stores a value for the other processes; a later one replaces it."""
    _client().key_value_set_bytes(f"lm_lab/{key}", pickle.dumps(value), allow_overwrite=True)


def posted(folder: str) -> dict[str, object]:
    """The values that were posted as FOLDER/NAME, by name."""
    found = _client().key_value_dir_get_bytes(f"lm_lab/{folder}/")
    return {key.rpartition("/")[2]: _value(stored) for key, stored in found}


def read(key: str) -> object:
    """The value that a process posts, once it is there."""
    return _value(_client().blocking_key_value_get_bytes(f"lm_lab/{key}", MOST_SECONDS * 1000))


def _value(stored: bytes) -> object:
    return pickle.loads(stored)  # noqa: S301 - written by a process of this launch


def of_first(function: Callable[[], Value]) -> Value:
    """The value of the function, which the first process alone calls. Its UserError is raised in
    all.

    All call it from their main thread, in the same order; alone, a process just calls the function.
    """
    if count() == 1:
        return function()
    number = next(_NUMBERS)
    if not is_first():
        value, fault = read(f"first/{number}")  # type: ignore[misc]
        if fault is not None:
            raise UserError(fault)
        return value
    if number >= KEPT:
        _client().key_value_delete(f"lm_lab/first/{number - KEPT}")
    try:
        value = function()
    except UserError as error:
        post(f"first/{number}", (None, str(error)))
        raise
    post(f"first/{number}", (value, None))
    return value


def gather(value: Value) -> list[Value]:
    """The values of all processes, in their order. All call it as they call `of_first`."""
    if count() == 1:
        return [value]
    number = next(_NUMBERS)
    post(f"all/{number}/{index()}", value)
    return [read(f"all/{number}/{other}") for other in range(count())]  # type: ignore[misc]


def meet(name: str, seconds: float) -> None:
    """Waits until all processes are here, or for so long."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # which also says that time is over
        _client().wait_at_barrier(f"lm_lab/{name}", int(seconds * 1000))


def _client() -> "distributed.xla_client.DistributedRuntimeClient":  # type: ignore[name-defined]
    client = distributed.global_state.client
    assert client is not None
    return client
