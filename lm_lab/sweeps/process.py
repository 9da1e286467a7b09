"""A command in a process that is pinned to free cores of this machine and ends with its caller.

It is sent to other machines by value (sweeps/executors/ray.py), so it imports the standard library
alone and asks for no lm_lab there.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

POLL_SECONDS = 0.05


def finish(
    command: Sequence[str],
    log: str,
    folder: str,
    environment: Mapping[str, str],
    cores: int,
    grace_seconds: float,
    child: str,
) -> tuple[int, str]:
    """Runs the command in `folder`, with its output at the end of `log`; (its exit code, the name
    of this machine). A KeyboardInterrupt asks the process to end, and kills it after
    `grace_seconds`. `child` is the path of sweeps/child.py. Raises OSError.
    """
    with free_cores(cores) as pinned, Path(log).open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", child, str(os.getpid()), pinned, *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
        finally:
            end([process], grace_seconds)
    return process.returncode, socket.gethostname()


@contextlib.contextmanager
def free_cores(count: int) -> Iterator[str]:
    """`count` cores that no other process of this user holds in this way, as "0,1". Where there are
    not so many, the first ones: XLA's sums depend on the number of cores, not on which they are.
    Empty, for any, where the platform cannot pin.
    """
    if sys.platform != "linux":
        yield ""
        return
    import fcntl

    place = Path(tempfile.gettempdir(), f"lm_lab_cores_{os.getuid()}")
    place.mkdir(exist_ok=True)
    cores, chosen = sorted(os.sched_getaffinity(0)), []
    with contextlib.ExitStack() as held:
        for core in cores:
            file = held.enter_context((place / str(core)).open("a"))
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                chosen.append(core)
            if len(chosen) == count:
                break
        if len(chosen) < count:
            chosen = cores[:count]
        yield ",".join(map(str, chosen))


def end(processes: Sequence[subprocess.Popen[bytes]], grace_seconds: float) -> None:
    """Asks the process groups of those that run to end, waits, then kills what is left of them; an
    interrupt meanwhile kills at once.
    """
    running = [process for process in processes if process.poll() is None]
    deadline = time.monotonic() + grace_seconds
    try:
        _signal(running, signal.SIGTERM)
        while any(process.poll() is None for process in running) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    finally:
        _signal(running, signal.SIGKILL)
        for process in running:
            process.wait()


def _signal(processes: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
