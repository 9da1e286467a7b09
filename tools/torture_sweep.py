#!/usr/bin/env python3
"""tools/torture_sweep.py [--executor=local|slurm|ray] [--kills=50] [--seed=0] [--runs=24]

Kills the launcher and the workers of a sweep at random moments (SIGKILL, seeded), launches it again
until it has ended, and compares results.csv with that of a sweep that nobody disturbed, byte by
byte. The runs are stubs that save after every step; what a run computes is a chain of hashes, so a
step that is lost or made twice changes its result. slurm starts the one-node cluster of the tests
(Debian: slurmctld slurmd slurm-client munge), ray a cluster that outlives the launches,
whose own worker processes are killed, too.
"""

import argparse
import contextlib
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lm_lab.sweeps import executors  # noqa: E402
from lm_lab.sweeps.algebra import param, product  # noqa: E402
from lm_lab.sweeps.launch import launch  # noqa: E402
from lm_lab.types import UserError  # noqa: E402
from tests.sweeps.executors import one_node  # noqa: E402
from tests.sweeps.fakes import HOLD, alive, resolve, study_of  # noqa: E402

WORKER = (
    HOLD
    + """
import hashlib, json, os

directory = pathlib.Path(sys.argv[1])
STEPS = int(sys.argv[2])
for name in sys.argv[3:]:
    run = directory / "runs" / name
    lock = hold(run)
    with open(directory / "pids", "a") as file:
        file.write(f"{os.getpid()}\\n")
    result, saved = run / "result.json", run / "checkpoints/state.json"
    if result.exists() and json.loads(result.read_text())["status"] == "complete":
        continue
    step, state = json.loads(saved.read_text()) if saved.exists() else (0, name)
    while step < STEPS:
        step, state = step + 1, hashlib.sha256(state.encode()).hexdigest()
        time.sleep(0.02)
        draft = run / f"draft.{os.getpid()}"
        draft.write_text(json.dumps([step, state]))
        os.replace(draft, saved)
    loss = int(state[:8], 16) / 2**32
    end = {"status": "complete", "steps": step, "tokens": 64 * step, "flops": 1e9, "seconds": 0.5,
           "params": {"matmul": 100}, "final": {"eval/heldout/nll": loss}}
    draft.write_text(json.dumps(end))
    os.replace(draft, result)
    lock.close()
"""
)


RAY_ADDRESS = f"127.0.0.1:{6379 + os.getpid() % 1000}"
SETTINGS = {
    "local": {},
    "slurm": {"poll_seconds": 0.1},
    "ray": {"address": RAY_ADDRESS},
}


class Sweep:
    """A sweep of stubs in a folder, whose launches are forks of this process."""

    def __init__(self, folder: Path, words: argparse.Namespace) -> None:
        self.folder, self.directory = folder, folder / "sweep"
        folder.mkdir()
        (folder / "worker.py").write_text(WORKER)
        points = product(param("model.width", [16, 32]), param("seed", range(words.runs // 2)))
        self.study, self.executor = study_of(points), words.executor
        self.settings = {"workers": 4, **SETTINGS[words.executor]}
        self.steps = 20 + 4 * words.kills  # so that there is work left until the last kill

    def launch(self) -> int:
        """Begins a launch; the pid of its process, which ends with 0 if the sweep has ended."""
        if pid := os.fork():
            return pid
        code = 2
        try:
            os.setsid()
            with (self.folder / "log.txt").open("a") as log:
                code = int(not self._finishes(log))
        except UserError as error:
            print(error, file=sys.stderr)
        finally:
            os._exit(code)

    def _finishes(self, log: Any) -> bool:
        worker = [sys.executable, "-I", "-S", str(self.folder / "worker.py")]
        return launch(
            self.study,
            self.directory,
            resolve,
            lambda directory, names: [*worker, str(directory), str(self.steps), *names],
            executors.choose(self.executor, self.settings),
            environment=lambda: {"command": "torture", "devices": {"platform": "cpu"}},
            stream=log,
        ).finished

    def finish(self) -> int:
        """Launches until the sweep has ended; how often that was."""
        for count in range(1, 100):
            if os.waitstatus_to_exitcode(os.waitpid(self.launch(), 0)[1]) == 0:
                return count
            time.sleep(0.2)
        raise SystemExit(f"the sweep does not end: see {self.folder}")

    def workers(self) -> list[int]:
        """The pids of workers that live."""
        pids = self.directory / "pids"
        found = {int(line) for line in pids.read_text().split()} if pids.exists() else set()
        return sorted(pid for pid in found if alive(pid))

    def table(self) -> bytes:
        return (self.directory / "results.csv").read_bytes()


def torture(sweep: Sweep, kills: int, draw: random.Random) -> dict[str, int]:
    """Kills `kills` processes of the sweep while workers are at work; how many of each kind."""
    counts = {"launcher": 0, "worker": 0}
    launcher = sweep.launch()
    while sum(counts.values()) < kills:
        ended, status = os.waitpid(launcher, os.WNOHANG)
        if ended and os.waitstatus_to_exitcode(status) == 0:
            return counts  # nothing is left to do
        launcher = sweep.launch() if ended else launcher
        if not (workers := sweep.workers()):
            time.sleep(0.01)
            continue
        time.sleep(draw.uniform(0.02, 0.3))
        victim = draw.choice([launcher, draw.choice(workers)])
        kind = "launcher" if victim == launcher else "worker"
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has ended since
            if sweep.executor == "ray" and kind == "worker" and draw.random() < 0.5:
                victim, kind = _parent(victim), "worker of Ray"
            os.kill(victim, signal.SIGKILL)
            counts[kind] = counts.get(kind, 0) + 1
        if victim == launcher:
            os.waitpid(launcher, 0)
            launcher = sweep.launch()
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    return counts


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


@contextlib.contextmanager
def machine(executor: str, room: Path) -> Iterator[None]:
    """What the executor needs."""
    if executor == "ray":
        with ray_cluster():
            yield
        return
    if executor == "local":
        yield
        return
    if not one_node.is_installed():
        raise SystemExit("slurm needs slurmctld, slurmd and munge")
    with one_node.cluster(room / "slurm") as environment:
        os.environ.update({name: environment[name] for name in ("PATH", "SLURM_CONF")})
        yield


@contextlib.contextmanager
def ray_cluster() -> Iterator[None]:
    """A Ray of this machine with four places for runs."""
    ray = Path(sys.executable).with_name("ray")
    if not ray.exists():
        raise SystemExit('ray is not installed: pip install "lm_lab[ray]"')
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    port = RAY_ADDRESS.rpartition(":")[2]
    command = [ray, "start", "--head", "--block", f"--port={port}", "--num-cpus=4"]
    command += ["--include-dashboard=false", "--disable-usage-stats"]
    head = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        patience = time.monotonic() + 60
        while _refuses(int(port)):
            if time.monotonic() > patience or head.poll() is not None:
                raise SystemExit("Ray does not start")
            time.sleep(0.1)
        yield
    finally:
        head.terminate()
        head.wait()


def _refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executor", default="local", choices=["local", "slurm", "ray"])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=24)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, machine(words.executor, Path(name)):
        whole, hurt = (Sweep(Path(name, kind), words) for kind in ("whole", "hurt"))
        whole.finish()
        counts = torture(hurt, words.kills, random.Random(words.seed))
        launches = hurt.finish()
        same = hurt.table() == whole.table()
    print(
        f"{words.executor}: killed "
        f"{', '.join(f'{kind}: {count}' for kind, count in counts.items())}; "
        f"{launches} more launches to the end; the table of {words.runs} runs is "
        f"{'the same to the bit' if same else 'ANOTHER'}"
    )
    sys.exit(not same)


if __name__ == "__main__":
    main()
