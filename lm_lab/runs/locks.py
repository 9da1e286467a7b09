"""Locks between processes, of one machine or of several that share a file system.

    lock      names its last holder; among the processes of a machine, flock on it decides
    lock.7    the claim of the seventh holder: a line of JSON, then "free"

The kernel releases a flock when its holder dies, however it dies, so a killed process is followed
at once on its machine. Other machines may not see the flock, and a machine may vanish with its
holders. So a holder also makes a claim and renews its time every HEARTBEAT_SECONDS. Another machine
follows it when it is free, or when its time is EXPIRY_SECONDS older than that of a file just
made beside it: both are times of the file system, whatever the clocks of the machines say.

A claim is created, not renamed or overwritten, and under the next number, so that one of several
followers wins. The winner removes the former claim. Its holder may have been paused or cut off
only; it finds its claim gone (`Lock.confirm`) before it writes what others read.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from lm_lab.runs.durable import explained
from lm_lab.types import UserError

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
EXPIRY_SECONDS = 120.0
FREE = "free"
_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems without it
_GONE = (errno.ENOENT, errno.ESTALE)
_LOOKS = 20  # at a flock that another has: who asks whether it is held has it for an instant
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Lost(UserError):
    """Another process has followed the holder of a lock."""


class Lock:
    """An exclusive lock, held from entering the `with` block to leaving it.

    The file names its last holder. A link is refused, because the file is overwritten. A process
    forked inside the block holds the lock too, until it ends or execs. Entering waits, with a
    warning, until the claim of another machine is renewed or has expired. Raises UserError, with
    the holder's pid and host, where another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._has_flock = True
        self._token = os.urandom(8).hex()
        self._stop = threading.Event()

    def __enter__(self) -> "Lock":
        with explained(self._path, "lock"):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            try:
                self._acquire()
            except BaseException:
                os.close(self._descriptor)
                raise
        self._stop.clear()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            if self._is_own(self._claim):
                # Over the first bytes: on a full disk the claim stays whole, and tells its machine.
                with self._claim.open("r+") as file:
                    file.write(f"{FREE}\n")
        os.close(self._descriptor)

    def confirm(self) -> None:
        """Renews the claim. Raises Lost where another process has followed this one, and UserError
        where the claim cannot be renewed; this one then must write nothing more.
        """
        try:
            if self._is_own(self._claim):
                os.utime(self._claim)  # by the server's clock; fails where the file is gone
                return
        except OSError as error:
            if error.errno not in _GONE:
                with explained(self._claim, "renew it"):
                    raise
        newest = _newest(self._path)
        owner = _read(newest).owner if newest else None
        raise Lost(
            f"{self._path.parent} was taken over by {owner or 'another process'}, as this process "
            f"was not heard of for {EXPIRY_SECONDS:.0f} s; it ends here"
        )

    def _acquire(self) -> None:
        if not self._take_flock():
            # The holder writes its name after it has the lock, so the file may still be empty.
            name = os.pread(self._descriptor, 4096, 0).decode(errors="replace").strip()
            raise self._in_use(name)
        while (claim := self._try_claim()) is None:
            pass
        self._claim = claim
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{_name()}\n".encode(), 0)

    def _take_flock(self) -> bool:
        try:
            for _ in range(_LOOKS):
                if try_lock(self._descriptor):
                    return True
                time.sleep(0.005)
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            self._has_flock = False
        return not self._has_flock

    def _try_claim(self) -> Path | None:
        """Follows the newest claim once that has ended; None where another has been quicker."""
        newest, number = _newest(self._path), 1
        if newest is not None:
            self._wait_for_end(newest)
            number = _number(newest) + 1
        own = self._path.with_name(f"{self._path.name}.{number}")
        words = {"owner": _name(), "machine": machine(), "token": self._token}
        try:
            with own.open("x") as file:
                file.write(json.dumps(words) + "\n")
        except FileExistsError:
            return None
        except OSError:  # a full disk: a claim that names nobody would be waited for
            own.unlink(missing_ok=True)
            raise
        others = [claim for claim in _claims(self._path) if claim != own]
        if any(_number(claim) > number for claim in others):  # made since this one looked
            own.unlink(missing_ok=True)
            return None
        for claim in others:
            claim.unlink(missing_ok=True)
        return own

    def _wait_for_end(self, claim: Path) -> None:
        """Returns when a claim has ended. Raises UserError where its holder lives."""
        first = state = _read(claim)
        warned = False
        while not self._has_ended(state):
            age = _now(claim.parent) - state.renewed
            if age >= EXPIRY_SECONDS:
                return
            if state.renewed > first.renewed:
                raise self._in_use(state.owner)
            if not warned and age > HEARTBEAT_SECONDS:
                warned = True
                logger.warning(
                    "%s: claimed by %s, not heard of for %.0f s; goes on in %.0f s if it stays so",
                    claim.parent,
                    state.owner or "another process",
                    age,
                    EXPIRY_SECONDS - age,
                )
            time.sleep(min(1.0, HEARTBEAT_SECONDS / 5))
            state = _read(claim)

    def _has_ended(self, state: "_Claim") -> bool:
        """Whether a claim is free, or its holder of this machine dead, which flock tells."""
        return state.is_free or (self._has_flock and state.machine == machine())

    def _is_own(self, claim: Path) -> bool:
        return _read(claim).token == self._token

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self.confirm()
            except Lost:
                return  # the main thread is told where it confirms
            except UserError as error:
                logger.warning("%s", error)

    def _in_use(self, name: str) -> UserError:
        return UserError(
            f"{self._path.parent} is in use by {name or 'another process'}; wait for it, stop "
            "it, or choose another directory"
        )


class _Claim(NamedTuple):
    """What a claim says, and when it was renewed, by the file system's clock."""

    is_free: bool
    owner: str
    machine: str
    token: str
    renewed: float


def _read(claim: Path) -> _Claim:
    """Opens the file, so that a client of a network file system asks for its newest state. One that
    is gone is free; one that is not written yet has no owner.
    """
    try:
        with claim.open() as file:
            renewed, text = os.fstat(file.fileno()).st_mtime, file.read()
    except OSError as error:
        if error.errno in _GONE:
            return _Claim(True, "", "", "", 0.0)
        raise
    try:
        words = json.loads(text)
        owner, host, token = (str(words[key]) for key in ("owner", "machine", "token"))
    except (ValueError, TypeError, KeyError):
        return _Claim(text.startswith(FREE), "", "", "", renewed)
    return _Claim(False, owner, host, token, renewed)


def remove_lock(path: Path) -> None:
    """Removes the files of a lock that nobody holds, where nobody will ask for it."""
    for file in (path, *_claims(path)):
        file.unlink(missing_ok=True)


def _claims(path: Path) -> list[Path]:
    pattern = re.compile(re.escape(path.name) + r"\.\d+")
    return [other for other in path.parent.iterdir() if pattern.fullmatch(other.name)]


def _newest(path: Path) -> Path | None:
    return max(_claims(path), key=_number, default=None)


def _number(claim: Path) -> int:
    return int(claim.name.rpartition(".")[2])


def _now(folder: Path) -> float:
    """The time by the clock of a folder's file system: that of a file just made there."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _name() -> str:
    return f"pid {os.getpid()} on {socket.gethostname()}"


def machine() -> str:
    """What tells this machine, since it was started, from others."""
    return _BOOT.read_text().strip() if _BOOT.exists() else socket.gethostname()


@contextlib.contextmanager
def waiting_lock(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds an exclusive lock within the block; calls `on_wait` and waits while another has it.

    Raises OSError.
    """
    with path.open("a") as file:
        if not try_lock(file.fileno()):
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(descriptor: int, shared: bool = False) -> bool:
    """Takes the exclusive (or a shared) flock of an open file; False if another process has it."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock, as far as can be told without writing: claims of
    other machines by the clock of this one. A file that cannot be opened is not locked.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if not try_lock(descriptor, shared=True):
            return True
        here = machine()
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        here = ""
    finally:
        os.close(descriptor)
    newest = _newest(path)
    state = _read(newest) if newest else None
    if state is None or state.is_free or state.machine == here:
        return False
    return abs(time.time() - state.renewed) < EXPIRY_SECONDS
