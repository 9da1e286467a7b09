"""Processes that have imported lm-lab when they begin: forks of a server that imports it once.

`python -m MODULE WORDS...` takes 2 s of a core to import JAX and what stands on it, more than the
rest of a tiny run. A fork has its own main module, arguments, environment, session and pipes; no
device and no thread was started before it. It shares only the imports: tests that start real
processes show that these work.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
IMPORTED = ("train", "members", "sweep", "count")  # commands, and what they import


def environment() -> dict[str, str]:
    """The environment of a process: compiled programs are kept between launches, as those of the
    suite.
    """
    cache = os.environ.get("LM_LAB_TEST_CACHE", f"{tempfile.gettempdir()}/lm_lab_xla")
    keep_all = {
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return os.environ | keep_all | {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PLATFORMS": "cpu"}


class Forked:
    """A process, with those parts of subprocess.Popen that the tests use."""

    def __init__(self, pid: int, out: int, error: int, ended: int) -> None:
        self.pid, self.returncode = pid, None
        self.stdout, self.stderr, self._ended = (os.fdopen(end) for end in (out, error, ended))

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the signal that ended it."""
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            self.returncode = os.waitstatus_to_exitcode(int(self._ended.read()))
        return self.returncode

    def poll(self) -> int | None:
        """As `wait`, or None where it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        """Sends it a signal, if it still runs: the server may know of its end before we do."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """(stdout, stderr) of the process until it ends; it is killed after the timeout."""
        with ThreadPoolExecutor(2) as pool:
            out, error = pool.submit(self.stdout.read), pool.submit(self.stderr.read)
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                raise
            return out.result(), error.result()

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: Any) -> None:
        self.wait()
        for end in (self.stdout, self.stderr, self._ended):
            end.close()


def fork(module: str, *words: str) -> Forked:
    """`python -m module words...`, or `python -c words...` where the module is "-c", in the folder
    of the project and a session of its own.
    """
    server, ends = _server(), [os.pipe() for _ in range(3)]
    asked = json.dumps([module, words, environment()])
    socket.send_fds(server, [asked.encode() + b"\n"], [write for _, write in ends])
    for _, write in ends:
        os.close(write)
    return Forked(int(server.recv(100)), *(read for read, _ in ends))


@cache
def _server() -> socket.socket:
    """The socket to the server, which ends before this process does."""
    ours, its = socket.socketpair()
    command = [sys.executable, "-m", "tests.forked", str(its.fileno())]
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        pass_fds=[its.fileno()],
        start_new_session=True,
    )
    its.close()
    atexit.register(server.wait)
    atexit.register(ours.close)  # first
    return ours


def serve(asks: socket.socket) -> tuple[str, list[str]]:
    """Forks a process for each request, and reports how it ended; returns in the forks, with the
    module and words that each is to run.
    """
    children: dict[int, int] = {}  # where to tell the end of each

    def reap(*_: Any) -> None:
        for pid in list(children):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # the call that a signal interrupted knows its end
                continue
            if ended:
                os.write(children[pid], str(status).encode())
                os.close(children.pop(pid))

    signal.signal(signal.SIGCHLD, reap)
    while True:
        text, ends, *_ = socket.recv_fds(asks, 2**20, 3)
        while text and not text.endswith(b"\n"):
            text += asks.recv(2**20)
        if not text:
            sys.exit()
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            asks.close()
            for end in children.values():
                os.close(end)
            return _become(json.loads(text), ends)
        for end in ends[:2]:
            os.close(end)
        children[pid] = ends[2]
        asks.send(str(pid).encode())
        reap()  # what ended before it was noted


def _become(asked: tuple[str, list[str], dict[str, str]], ends: list[int]) -> tuple[str, list[str]]:
    module, words, variables = asked
    os.setsid()
    for number, end in enumerate(ends, 1):
        if number < 3:
            os.dup2(end, number)
        os.close(end)
    os.environ.clear()
    os.environ.update(variables)
    return module, words


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(f"lm_lab.cli.{name}")
    gc.freeze()  # what no process looks at stays shared
    module, words = serve(socket.socket(fileno=int(sys.argv[1])))
    sys.argv = [module, *words]
    if module == "-c":
        exec(sys.argv.pop(1), {"__name__": "__main__"})
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
