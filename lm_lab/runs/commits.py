"""The folder of a run's checkpoints: nothing counts as saved until it is committed.

    checkpoints/
      step_00000300/   Orbax's files, and manifest.json: size and SHA-256 of each, and a Record
      LAST_GOOD        the name of the newest commit
      lock, lock.1     held by the one process that may write here (locks.py)
      trash/           drafts and discarded steps; purged at start

Orbax alone neither fsyncs all that it writes nor notices flipped bits, and a step that is half
deleted looks whole. So a step is a sealed folder: drafted in trash/, fsynced together with its
manifest, and renamed into place whole. It leaves the same way.
"""

import logging
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

from lm_lab.runs.arrays import write_arrays
from lm_lab.runs.durable import atomic_write, explained, new_folder
from lm_lab.runs.reading import NUMBER, misfit
from lm_lab.runs.sealed import MANIFEST, Damaged, read_manifest, sums_of, verify, write_manifest
from lm_lab.types import PyTree, UserError

logger = logging.getLogger(__name__)

LAST_GOOD = "LAST_GOOD"
LOCK = "lock"
TRASH = "trash"
STEP = re.compile(r"step_\d{8,}")


class Record(NamedTuple):
    """What the manifest of a commit says of its state."""

    step: int
    spec_hash: str
    score: float | None
    extra: dict[str, Any]
    arrays: dict[str, str]  # "params.head.kernel" -> "bfloat16[128,512]"


TYPES = {
    "step": int,
    "spec_hash": str,
    "score": (*NUMBER, NoneType),
    "extra": dict,
    "arrays": dict,
}


def commit(
    directory: Path,
    state: PyTree,
    record: Record,
    keep: int,
    always: Collection[int] = (),
    confirm: Callable[[], None] = lambda: None,
    write: Callable[[Path], None] | None = None,
) -> None:
    """Saves host arrays as a step that is whole, durable and verifiable, or not there at all; then
    discards old steps. With `write`, that makes the folder of the arrays.

    The only place that makes a checkpoint. The caller holds the lock, and `confirm` raises where it
    has lost it. Raises UserError naming the folder.
    """
    final = folder_of(directory, record.step)
    trash = directory / TRASH
    with explained(final, "save the checkpoint"):
        trash.mkdir(exist_ok=True)
        with (
            tempfile.TemporaryDirectory(
                prefix="draft_", dir=trash, ignore_cleanup_errors=True
            ) as room,
            new_folder(final, Path(room, final.name), confirm=confirm) as draft,
        ):
            if write is None:
                write_arrays(draft, state)
            else:
                write(draft)
            write_manifest(draft, {**record._asdict(), "files": sums_of(draft)})
            if final.exists():  # without a manifest, so it is not a commit
                discard(directory, final)
    point_to(directory, final)
    with explained(directory, "remove old checkpoints"):
        for folder in surplus(directory, keep, always):
            discard(directory, folder)


def point_to(directory: Path, folder: Path) -> None:
    """Writes LAST_GOOD. Raises UserError."""
    atomic_write(directory / LAST_GOOD, f"{folder.name}\n")


def folder_of(directory: Path, step: int) -> Path:
    """Where the commit of a step is."""
    return directory / f"step_{step:08d}"


def step_of(folder: Path) -> int:
    """The step of a commit, by the name of its folder."""
    return int(folder.name.removeprefix("step_"))


def is_committed(folder: Path) -> bool:
    """Whether the folder of a step is a commit: one with a manifest."""
    return (folder / MANIFEST).is_file()


def committed(directory: Path) -> list[Path]:
    """The folders of committed steps, newest first."""
    folders = [
        folder
        for folder in directory.glob("step_*")
        if STEP.fullmatch(folder.name) and is_committed(folder)
    ]
    return sorted(folders, key=step_of, reverse=True)


def intact(directory: Path) -> Iterator[Path]:
    """The commits whose files are what their manifests say, newest first; damaged ones are warned
    of.
    """
    for folder in committed(directory):
        try:
            read_record(folder, verified=True)
        except Damaged as fault:
            warn_of_damage(folder, fault)
        else:
            yield folder


def newest_intact(directory: Path) -> Path:
    """The first of `intact`. Raises UserError where there is none."""
    newest = next(intact(directory), None)
    if newest is None:
        state = "every checkpoint is damaged" if committed(directory) else "no checkpoint there"
        raise UserError(f"{directory}: {state}; train the run, or name another directory")
    return newest


def warn_of_damage(folder: Path, fault: Damaged) -> None:
    """Says that a commit is passed over."""
    logger.warning("checkpoint %s is damaged (%s): falling back to the one before", folder, fault)


def read_record(folder: Path, verified: bool) -> Record:
    """What the manifest of a commit says; `verified` also checks every file. Raises Damaged."""
    fields, files = read_manifest(folder)
    absent = [f"{name} is absent" for name in TYPES if name not in fields]
    if fault := misfit(fields, TYPES) or ", ".join(absent):
        raise Damaged(f"{MANIFEST}: {fault}")
    if verified:
        verify(folder, files)
    record = Record(**{name: fields[name] for name in TYPES})
    if folder.name != folder_of(folder.parent, record.step).name:
        raise Damaged(f"it is of step {record.step}, by its {MANIFEST}")
    return record


def surplus(directory: Path, keep: int, always: Collection[int] = ()) -> list[Path]:
    """The committed steps that are neither among the newest `keep`, nor the best, nor among those
    that are `always` kept.
    """
    folders = committed(directory)
    scores = {folder: _score(folder) for folder in folders}
    best = min(folders, key=lambda folder: scores[folder])
    return [
        folder
        for folder in folders[keep:]
        if (folder != best or scores[folder] == math.inf) and step_of(folder) not in always
    ]


def discard(directory: Path, folder: Path, delete: bool = True) -> None:
    """Moves a step to trash/ in one rename, so that a kill never leaves half of it; then deletes.

    Raises OSError.
    """
    trashed = directory / TRASH / f"{folder.name}.{os.urandom(4).hex()}"
    trashed.parent.mkdir(exist_ok=True)
    folder.rename(trashed)
    if delete:
        shutil.rmtree(trashed, ignore_errors=True)  # the rest is purged at the next start


def _score(folder: Path) -> float:
    try:
        score = read_record(folder, verified=False).score
    except Damaged:
        score = None
    return math.inf if score is None else score
