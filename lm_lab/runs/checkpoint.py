"""The checkpoints of a run: saved in the background, and read back verified."""

import contextlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from lm_lab.runs import commits
from lm_lab.runs.arrays import describe, read_arrays, to_host
from lm_lab.runs.commits import LAST_GOOD, LOCK, TRASH, Record, committed, folder_of, step_of
from lm_lab.runs.durable import explained, fsync, prepare_workdir
from lm_lab.runs.locks import Lock, remove_lock
from lm_lab.runs.sealed import Damaged
from lm_lab.types import PyTree, UserError

logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run, for one process, inside `with`.

    Leaving the block waits for the save under way, and raises its error. Kept are the newest `keep`
    steps, those of `always`, and the one with the lowest score. `spec_hash` is the identity of the
    run: a state of another run is refused. Of several processes, the first has them. Raises
    UserError where the folder cannot be written or another process has its lock.
    """

    def __init__(
        self, directory: Path, keep: int, spec_hash: str, always: Collection[int] = ()
    ) -> None:
        self._directory = directory.absolute()
        self._keep = keep
        self._always = always
        self._spec_hash = spec_hash
        self._lock = Lock(self._directory / LOCK)
        self._pending: Future[None] | None = None
        self._step = 0  # of the newest save
        self._verified: dict[str, Record | None] = {}  # by folder; None: cannot be used
        self._foreign_hash = ""  # the spec_hash of a commit that belongs to another run

    def __enter__(self) -> "Checkpoints":
        self._is_new = not self._directory.exists()
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
            logger.warning("%s", fault)  # `error` came first, and must not be hidden
        finally:
            self._writer.shutdown()
            if error is not None and self._is_new:
                self._remove_empty()
            self._lock.__exit__()

    def _remove_empty(self) -> None:
        """Removes a folder that holds nothing but its lock, which is this process's."""
        with contextlib.suppress(OSError):
            if all(path.stem == LOCK for path in self._directory.iterdir()):
                remove_lock(self._directory / LOCK)
                self._directory.rmdir()

    def is_saved(self, step: int) -> bool:
        """Whether a step is committed."""
        return commits.is_committed(folder_of(self._directory, step))

    @property
    def saving(self) -> int | None:
        """The step of the save under way, None where none is; for any thread."""
        pending = self._pending
        return None if pending is None or pending.done() else self._step

    def save(
        self,
        step: int,
        state: PyTree,
        extra: dict[str, Any],
        score: float | None,
        write: Callable[[Path], None] | None = None,
    ) -> None:
        """Copies the state to the host, returns, and commits the copy in the background. With
        `write`, which makes a folder with the state, no copy is made.

        After it returns, the arrays may be donated or overwritten. A save waits for the one before
        it, and raises its error (UserError: disk full, permissions); earlier commits stay. `extra`
        is JSON data, given back by `commits` and `latest`. The lowest score is the best; None and
        NaN are never the best. A step that is already committed is not written again.
        """
        self.wait()
        if self.is_saved(step):
            return
        extra = json.loads(json.dumps(extra))  # a copy, and type errors are raised here
        score = float(score) if score is not None and math.isfinite(score) else None
        held = state if write else to_host(state)
        record = Record(int(step), self._spec_hash, score, extra, describe(held))
        self._verified.pop(folder_of(self._directory, step).name, None)
        self._step = step
        self._pending = self._writer.submit(
            commits.commit,
            self._directory,
            held,
            record,
            self._keep,
            self._always,
            self.confirm,
            write,
        )

    def confirm(self) -> None:
        """Raises UserError where another process has taken the folder over: what this one computes
        is of no use then.
        """
        self._lock.confirm()

    def wait(self) -> None:
        """Waits until the save under way is committed. Raises UserError if it failed."""
        try:
            if self._pending is not None:
                self._pending.result()
        finally:
            self._pending = None

    def commits(self, at_most: int | None = None) -> Iterator[Record]:
        """The records of verified commits (of step `at_most` or before), newest first.

        Commits that are damaged or of another run are passed over with a warning. Raises UserError
        at the end if there are commits and none of them can be used.
        """
        self.wait()
        folders = committed(self._directory)
        for folder in folders:
            if at_most is None or step_of(folder) <= at_most:
                record = self._verify(folder)
                if record is not None:
                    yield record
        if folders and not any(map(self._verify, folders)):
            self._refuse()

    def folder(self, record: Record) -> Path:
        """The folder of a commit."""
        return folder_of(self._directory, record.step)

    def restore(self, record: Record, abstract_state: PyTree) -> PyTree:
        """The arrays of a commit.

        `abstract_state` is a pytree of jax.ShapeDtypeStruct with the shapes and dtypes that were
        saved (UserError where they differ). Its shardings (default: the first device) are those of
        the result, whatever devices the state was saved from.
        """
        return read_arrays(self.folder(record), record.arrays, abstract_state)

    def latest(self, abstract_state: PyTree) -> tuple[int, PyTree, dict[str, Any]] | None:
        """(step, state, extra) of the newest commit that can be used, None if there is none.

        Discards later ones. Raises UserError as `commits` and `restore` do.
        """
        for record in self.commits():
            state = self.restore(record, abstract_state)
            self.rewind(record.step)
            return record.step, state, record.extra
        return None

    def rewind(self, step: int) -> None:
        """Discards the commits of later steps, so that they never mix with those of a run that
        resumes at `step`.

        `step` is that of a commit, or 0. Damaged commits stay in trash/ until the next start.
        """
        later = [folder for folder in committed(self._directory) if step_of(folder) > step]
        if not later:
            return
        with explained(self._directory, "set later checkpoints aside"):
            if step:
                commits.point_to(self._directory, folder_of(self._directory, step))
            else:
                (self._directory / LAST_GOOD).unlink(missing_ok=True)
            for folder in later:
                is_damaged = self._verified.pop(folder.name, True) is None
                commits.discard(self._directory, folder, delete=not is_damaged)
            fsync(self._directory)

    def _verify(self, folder: Path) -> Record | None:
        """The record of a commit, None if it cannot be used. Its files are read once a launch."""
        if folder.name not in self._verified:
            self._verified[folder.name] = None
            try:
                record = commits.read_record(folder, verified=True)
                if record.spec_hash != self._spec_hash:
                    self._foreign_hash = record.spec_hash
                    raise Damaged(
                        f"it is of a run with hash {record.spec_hash}, this one has "
                        f"{self._spec_hash}"
                    )
                self._verified[folder.name] = record
            except Damaged as fault:
                commits.warn_of_damage(folder, fault)
        return self._verified[folder.name]

    def _refuse(self) -> None:
        if self._foreign_hash:
            raise UserError(
                f"{self._directory} holds checkpoints of another config (hash "
                f"{self._foreign_hash}, this run has {self._spec_hash}); choose another directory"
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
