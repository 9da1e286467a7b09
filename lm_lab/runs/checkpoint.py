"""Checkpoints: nothing counts as saved until it is committed.

    checkpoints/
      step_00000300/   Orbax's files, and manifest.json: size and SHA-256 of each, step, spec hash, score, extra
      LAST_GOOD        the name of the newest commit
      lock             held for life by the one process that may write here
      trash/           drafts and discarded steps; purged at start

Orbax alone neither fsyncs all that it writes nor notices flipped bits, and a step that is half
deleted looks whole. So a step is drafted in trash/, fsynced together with its manifest, and renamed
into place whole; it leaves the same way.
"""

import contextlib
import errno
import json
import logging
import math
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import NoneType, TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from lm_lab.runs.durable import fsync
from lm_lab.runs.files import (
    MANIFEST,
    NUMBER,
    Damaged,
    Lock,
    atomic_write,
    explained,
    misfit,
    prepare_workdir,
    read_seal,
    seal,
    verify_seal,
)
from lm_lab.types import PyTree, UserError

logger = logging.getLogger(__name__)

LAST_GOOD = "LAST_GOOD"
TRASH = "trash"
STEP = re.compile(r"step_\d{8,}")
ONE_AT_A_TIME = (
    threading.Lock()
)  # Orbax 0.12.8: two calls at once in a process take each other's folders


class Record(NamedTuple):
    """What a commit says of its state, beside the digests of its files."""

    step: int
    spec_hash: str
    score: float | None
    extra: dict[str, Any]
    arrays: dict[str, str]  # "params.head.kernel" -> "bfloat16[128,512]"


FIELDS = {
    "step": int,
    "spec_hash": str,
    "score": (*NUMBER, NoneType),
    "extra": dict,
    "arrays": dict,
}


class Checkpoints:
    """The checkpoints of one run, for one process, inside `with`: leaving it waits, and raises what
    the writing met.

    Kept are the newest `keep` steps and the one with the lowest score. `spec_hash` names all that
    decides the meaning of a state (the resolved config): a state of another spec is refused. Every
    array must be addressable by this process. Raises UserError where the folder cannot be written
    or another process holds it.
    """

    def __init__(self, directory: Path, keep: int, spec_hash: str) -> None:
        self._directory = directory.absolute()
        self._keep = keep
        self._spec_hash = spec_hash
        self._lock = Lock(self._directory / "lock")
        self._pending: Future[None] | None = None
        self._judged: dict[str, Record | None] = {}  # by folder; None for one that cannot be used
        self._foreign = ""  # the spec of a commit that is another run's

    def __enter__(self) -> "Checkpoints":
        prepare_workdir(self._directory)
        self._lock.__enter__()
        shutil.rmtree(self._directory / TRASH, ignore_errors=True)
        self._check_pointer()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        except UserError as fault:
            if error is None:
                raise
            logger.warning(
                "%s", fault
            )  # the error on its way out came first, and must not be hidden
        finally:
            self._writer.shutdown()
            self._lock.__exit__()

    def save(self, step: int, state: PyTree, extra: dict[str, Any], score: float | None) -> None:
        """Copies the state to the host, and commits it in the background; returns once the copy is
        made.

        After it returns, the arrays may be donated or overwritten. A save waits for the one before
        it, and raises what that one met (UserError: disk full, permissions); what was committed
        earlier stays. `extra` is plain JSON data, given back by `commits` and `latest`. The lowest
        score is the best; None and NaN are never the best. A step that is already committed is not
        written again.
        """
        self.wait()
        if _is_committed(_folder(self._directory, step)):
            return
        extra = json.loads(
            json.dumps(extra)
        )  # a copy too, and an error here rather than in the background
        score = float(score) if score is not None and math.isfinite(score) else None
        host_state = to_host(state)
        record = Record(int(step), self._spec_hash, score, extra, describe(host_state))
        self._judged.pop(_folder(self._directory, step).name, None)
        self._pending = self._writer.submit(commit, self._directory, host_state, record, self._keep)

    def wait(self) -> None:
        """Waits until the save under way is committed. Raises UserError if it failed."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def commits(self, at_most: int | None = None) -> Iterator[Record]:
        """What the commits (with `at_most`, those of no later step) say whose files are what their
        manifests say, the newest first.

        One that is damaged, or of another spec beside those of this one, is passed over with a
        warning. Raises UserError at the end where commits are there and none of them can be used.
        """
        self.wait()
        folders = committed(self._directory)
        for folder in folders:
            if at_most is None or step_of(folder) <= at_most:
                record = self._judge(folder)
                if record is not None:
                    yield record
        if folders and not any(map(self._judge, folders)):
            self._refuse()

    def restore(self, record: Record, abstract_state: PyTree) -> PyTree:
        """The arrays of a commit.

        `abstract_state` is a pytree of jax.ShapeDtypeStruct: its shapes and dtypes must be those
        saved, its shardings (the first device where it has none) are those of the result, whatever
        devices the state was saved from. Raises UserError where they are not.
        """
        return restore(_folder(self._directory, record.step), record, abstract_state)

    def latest(self, abstract_state: PyTree) -> tuple[int, PyTree, dict[str, Any]] | None:
        """The newest commit that can be used, as (step, state, extra); None if there is none. Later
        ones are set aside.

        Raises UserError as `commits` and `restore`.
        """
        for record in self.commits():
            state = self.restore(record, abstract_state)
            self.rewind(record.step)
            return record.step, state, record.extra
        return None

    def rewind(self, step: int) -> None:
        """Takes the commits of later steps away, durably, so that they never mix with those of a
        run that begins here.

        `step` is that of a commit, or 0. Damaged commits can be looked at in trash/ until the next
        start.
        """
        later = [folder for folder in committed(self._directory) if step_of(folder) > step]
        with explained(self._directory, "set later checkpoints aside"):
            if later and step:
                atomic_write(
                    self._directory / LAST_GOOD, f"{_folder(self._directory, step).name}\n"
                )
            elif later:
                (self._directory / LAST_GOOD).unlink(missing_ok=True)
            for folder in later:
                discard(
                    self._directory, folder, delete=self._judged.pop(folder.name, True) is not None
                )
            if later:
                fsync(self._directory)

    def _judge(self, folder: Path) -> Record | None:
        """What a commit says, None where it cannot be used: verified once, for that reads all of
        it.
        """
        if folder.name not in self._judged:
            self._judged[folder.name] = None
            try:
                record = read_record(folder, whole=True)
                if record.spec_hash != self._spec_hash:
                    self._foreign = record.spec_hash
                    raise Damaged(
                        f"it is of a run with hash {record.spec_hash}, this one has "
                        f"{self._spec_hash}"
                    )
                self._judged[folder.name] = record
            except Damaged as fault:
                logger.warning(
                    "checkpoint %s is damaged (%s): falling back to the one before", folder, fault
                )
        return self._judged[folder.name]

    def _refuse(self) -> None:
        if self._foreign:
            raise UserError(
                f"{self._directory} holds checkpoints of another config (hash {self._foreign}, "
                "this run has "
                f"{self._spec_hash}); choose another --workdir"
            )
        raise UserError(
            f"{self._directory}: every checkpoint is damaged; delete the folder to start from "
            "step 0"
        )

    def _check_pointer(self) -> None:
        pointer = self._directory / LAST_GOOD
        if pointer.exists():
            name = pointer.read_bytes().decode(errors="replace").strip()
            if name not in {folder.name for folder in committed(self._directory)}:
                logger.warning(
                    "%s names %s, which is not there: looking for an older checkpoint",
                    pointer,
                    name,
                )


def commit(directory: Path, state: PyTree, record: Record, keep: int) -> None:
    """Saves host arrays so that the step is there whole, durable and verifiable, or not at all;
    then drops old steps.

    The only place that makes a checkpoint. The caller holds the lock. Raises UserError naming the
    folder.
    """
    final = _folder(directory, record.step)
    trash = directory / TRASH
    with explained(final, "save the checkpoint"):
        trash.mkdir(exist_ok=True)
        require_space(directory, state)
        with tempfile.TemporaryDirectory(
            prefix="draft_", dir=trash, ignore_cleanup_errors=True
        ) as room:
            draft = Path(room, final.name)
            write_arrays(draft, state)
            seal(draft, record._asdict())
            if final.exists():  # a folder without a manifest, which no commit left there
                discard(directory, final)
            draft.rename(final)
        fsync(directory)
    atomic_write(directory / LAST_GOOD, f"{final.name}\n")
    with explained(directory, "remove old checkpoints"):
        for folder in surplus(directory, keep):
            discard(directory, folder)


def committed(directory: Path) -> list[Path]:
    """The folders of committed steps, newest first."""
    folders = [
        folder
        for folder in directory.glob("step_*")
        if STEP.fullmatch(folder.name) and _is_committed(folder)
    ]
    return sorted(folders, key=step_of, reverse=True)


def step_of(folder: Path) -> int:
    """The step of a commit, by the name of its folder."""
    return int(folder.name.removeprefix("step_"))


def read_record(folder: Path, whole: bool) -> Record:
    """What a commit says, with `whole` after its files were found to be those that it covers.
    Raises Damaged.
    """
    fields = verify_seal(folder) if whole else read_seal(folder)
    wrong = misfit(fields, FIELDS) or ", ".join(
        f"{name} is absent" for name in FIELDS if name not in fields
    )
    if wrong:
        raise Damaged(f"{MANIFEST}: {wrong}")
    record = Record(**{name: fields[name] for name in FIELDS})
    if folder.name != _folder(folder.parent, record.step).name:
        raise Damaged(f"it is of step {record.step}, by its {MANIFEST}")
    return record


def surplus(directory: Path, keep: int) -> list[Path]:
    """The committed steps that are neither among the newest `keep` nor the best."""
    folders = committed(directory)
    scores = {folder: _score(folder) for folder in folders}
    best = min(folders, key=lambda folder: scores[folder])
    return [folder for folder in folders[keep:] if folder != best or scores[folder] == math.inf]


def discard(directory: Path, folder: Path, delete: bool = True) -> None:
    """Takes a step out of sight in one rename, so that a kill never leaves half of it, and then
    deletes it.
    """
    trashed = directory / TRASH / f"{folder.name}.{os.urandom(4).hex()}"
    trashed.parent.mkdir(exist_ok=True)
    folder.rename(trashed)
    if delete:
        shutil.rmtree(trashed, ignore_errors=True)  # what is left goes at the next start


def to_host(state: PyTree) -> PyTree:
    """NumPy copies of the arrays that share no memory with them."""
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


def require_space(directory: Path, state: PyTree) -> None:
    """OSError before the first byte, where the disk cannot hold the state: tensorstore is noisy
    when it runs out.
    """
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + 2**20
    if shutil.disk_usage(directory).free < needed:
        raise OSError(errno.ENOSPC, f"No space left on device ({needed / 2**20:.0f} MiB needed)")


def write_arrays(folder: Path, state: PyTree) -> None:
    """Orbax, blocking. Raises OSError for what tensorstore reports as a ValueError with the
    system's error code.
    """
    try:
        with ONE_AT_A_TIME, _silent_threads():
            ocp.save(str(folder), state)
    except ValueError as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from None
    (folder / "commit_success.txt").unlink(
        missing_ok=True
    )  # which nothing reads, and names the path on this machine


@contextlib.contextmanager
def _silent_threads() -> Iterator[None]:
    """Inside, Orbax's threads do not each print the error that the caller is told once anyway."""
    orbax = logging.getLogger("absl")
    level = orbax.level
    orbax.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        orbax.setLevel(level)


def restore(folder: Path, record: Record, abstract_state: PyTree) -> PyTree:
    """The arrays of a verified step, with the shardings of the abstract state.

    Orbax casts a wrong dtype without a word, so dtypes and shapes are compared beforehand. Raises
    UserError.
    """
    wanted = describe(abstract_state)
    for name in wanted.keys() | record.arrays.keys():
        saved, asked = record.arrays.get(name, "absent"), wanted.get(name, "absent")
        if saved != asked:
            raise UserError(
                f"{folder}: {name} is {saved} in the checkpoint and {asked} in this run; choose "
                "another --workdir"
            )
    default = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=leaf.sharding or default
        ),
        abstract_state,
    )
    with ONE_AT_A_TIME:
        state = ocp.load(str(folder), target)
    jax.tree.map(_check_restored, state, target)
    return state


def _check_restored(array: jax.Array, target: jax.ShapeDtypeStruct) -> None:
    same = (array.shape, array.dtype) == (target.shape, target.dtype)
    if not same or not array.sharding.is_equivalent_to(target.sharding, array.ndim):
        raise RuntimeError(
            f"Orbax gave {array.dtype}{array.shape} on {array.sharding} where {target} was "
            "asked for"
        )


def _folder(directory: Path, step: int) -> Path:
    return directory / f"step_{step:08d}"


def _is_committed(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _score(folder: Path) -> float:
    try:
        score = read_record(folder, whole=False).score
    except Damaged:
        score = None
    return math.inf if score is None else score
