"""Pytrees of arrays on the disk, written and read by Orbax."""

import contextlib
import errno
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from lm_lab.runs import peers
from lm_lab.types import PyTree, UserError

# Orbax 0.12.8: two calls at once in a process mix up their folders.
_ONE_AT_A_TIME = threading.Lock()


def to_host(state: PyTree) -> PyTree:
    """NumPy copies of the arrays, which share no memory with them."""
    for leaf in jax.tree.leaves(state):
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), state)


def describe(state: PyTree) -> dict[str, str]:
    """Path, dtype and shape of every array: {"params.head.kernel": "bfloat16[128,512]"}."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        jax.tree_util.keystr(
            path, simple=True, separator="."
        ): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in leaves
    }


def write_arrays(folder: Path, state: PyTree) -> None:
    """Writes host arrays into a folder that does not exist yet. Raises OSError.

    The disk's free space is checked first, because tensorstore is noisy when it runs out.
    """
    _check_room(folder, state)
    with _ONE_AT_A_TIME, _silent_threads(), _system_errors():
        ocp.save(str(folder), state)
    _forget_path(folder)


def begin_to_write(folder: Path, state: PyTree) -> Callable[[], None]:
    """As `write_arrays`, for arrays over the devices of several processes, each of which writes
    the parts that it addresses.

    The main threads of all call it at once. What it returns waits until all is written, and is
    called in a thread of its own, once, in all; until then the arrays must not be donated.
    """
    if peers.is_first():
        _check_room(folder, state)
    _ONE_AT_A_TIME.acquire()  # until all is written
    try:
        with _system_errors():
            response = ocp.save_async(str(folder), state)
    except BaseException:
        _ONE_AT_A_TIME.release()
        raise

    def finish() -> None:
        try:
            with _silent_threads(), _system_errors():
                response.result()
        finally:
            _ONE_AT_A_TIME.release()
        if peers.is_first():
            _forget_path(folder)

    return finish


def _check_room(folder: Path, state: PyTree) -> None:
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + 2**20
    if shutil.disk_usage(folder.parent).free < needed:
        raise OSError(errno.ENOSPC, f"No space left on device ({needed / 2**20:.0f} MiB needed)")


def _forget_path(folder: Path) -> None:
    # Nothing reads this file, and it names the path on this machine.
    (folder / "commit_success.txt").unlink(missing_ok=True)


@contextlib.contextmanager
def _system_errors() -> Iterator[None]:
    """Raises the OSError whose code tensorstore reports in the text of a ValueError."""
    try:
        yield
    except ValueError as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from None


@contextlib.contextmanager
def _silent_threads() -> Iterator[None]:
    """Keeps Orbax's threads from each printing the error that its caller gets anyway."""
    orbax = logging.getLogger("absl")
    level = orbax.level
    orbax.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        orbax.setLevel(level)


def read_arrays(folder: Path, stored: dict[str, str], abstract_state: PyTree) -> PyTree:
    """The arrays of a folder, of which `stored` is the description, with the shardings of a pytree
    of jax.ShapeDtypeStruct (the first device where it has none).

    Raises UserError where shapes or dtypes differ: Orbax would cast a wrong dtype without a word.
    """
    description = describe(abstract_state)
    for name in description.keys() | stored.keys():
        saved, expected = stored.get(name, "absent"), description.get(name, "absent")
        if saved != expected:
            raise UserError(
                f"{folder}: {name} is {saved} in the checkpoint and {expected} in this run; choose "
                "another directory"
            )
    default = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=leaf.sharding or default
        ),
        abstract_state,
    )
    with _ONE_AT_A_TIME:
        state = ocp.load(str(folder), target)
    jax.tree.map(_check_restored, state, target)
    return state


def read_subtree(folder: Path, name: str) -> PyTree:
    """NumPy arrays, as they were saved, of one entry of a state; the others are not read."""
    with _ONE_AT_A_TIME:
        path = str(folder.absolute())
        saved = ocp.metadata(path).metadata
        target = {key: jax.tree.map(lambda _: ocp.PLACEHOLDER, tree) for key, tree in saved.items()}
        target[name] = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), saved[name])
        return ocp.load(path, target)[name]


def _check_restored(array: jax.Array, target: jax.ShapeDtypeStruct) -> None:
    same = (array.shape, array.dtype) == (target.shape, target.dtype)
    if not same or not array.sharding.is_equivalent_to(target.sharding, array.ndim):
        raise RuntimeError(
            f"Orbax gave {array.dtype}{array.shape} on {array.sharding} where {target} was "
            "asked for"
        )
