"""Sealed folders of the cache, each built by one of the processes that want it at once.

<cache>/<name>             the folder
<cache>/<name>.building/   a draft; its builder holds the lock, unless it was killed
<cache>/<name>.lock
"""

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lm_lab.runs.durable import new_folder
from lm_lab.runs.locks import try_lock, waiting_lock

JOURNAL = "journal.json"  # of a draft that another process may continue
WEEK = 7 * 24 * 3600  # seconds


@contextlib.contextmanager
def build_once(
    path: Path, is_there: Callable[[], bool], *, resumable: bool = False
) -> Iterator[Path | None]:
    """The place of a draft, to be made in the block, which then becomes the folder `path`; no other
    process writes there. None if the folder is there, by `is_there`, once no other builds it.

    With `resumable` the block may find the draft of a process that was killed. Raises OSError.
    """

    def say() -> None:
        print(f"Waiting for another process to build {path}", file=sys.stderr, flush=True)

    with waiting_lock(path.with_name(f"{path.name}.lock"), say):
        if is_there():
            yield None
            return
        draft = path.with_name(f"{path.name}.building")
        _remove_abandoned(path.parent, draft)
        with new_folder(path, draft, resumable=resumable):
            yield draft


def _remove_abandoned(directory: Path, current: Path) -> None:
    """Removes the drafts of builders that were killed, whose locks nobody holds: those without a
    usable part, and those that nobody has continued for a week.
    """
    for folder in directory.glob("*.building"):
        journal = folder / JOURNAL
        if folder == current or (journal.exists() and time.time() < journal.stat().st_mtime + WEEK):
            continue
        with folder.with_suffix(".lock").open("a") as lock:
            if try_lock(lock.fileno()):
                shutil.rmtree(folder, ignore_errors=True)
