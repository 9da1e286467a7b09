"""A study of fake runs: the worker does at once, from the standard library alone, what its config's
`fate` says.
"""

import copy
import os
import sys
import time
from pathlib import Path

from ml_collections import ConfigDict

from lm_lab.sweeps.study import Study

BASE = {
    "seed": 0,
    "model": {"width": 16, "fate": "complete"},
    "data": {"length": 64},
    "optimizer": {"peak_rate": 0.01, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.99},
    "train": {"steps": 10, "batch_size": 4, "budget_flops": None},
}

# of a worker: locks a run as a real one does, until `lock` is closed
HOLD = """
import fcntl, pathlib, sys, time


def hold(run: pathlib.Path):
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    lock = open(run / "checkpoints/lock", "a")
    for look in range(20):  # who asks for the status of a run has its lock for an instant
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            time.sleep(0.005)
    sys.exit(f"{run} is in use")


"""
WORKER = (
    HOLD
    + """
import json, os

directory = pathlib.Path(sys.argv[1])
stored = json.loads((directory / "sweep.json").read_text())
configs = {run["name"]: run["config"] for run in stored["runs"]}
for name in sys.argv[2:]:
    run, config = directory / "runs" / name, configs[name]
    lock = hold(run)
    with open(directory / "invocations", "a") as file:
        file.write(f"{name} {os.getpid()} {sorted(os.sched_getaffinity(0))}\\n")
    fate = config["model"]["fate"]
    if fate == "crash" and not (directory / "mended").exists():
        print("half way")
        sys.exit("out of luck")
    while fate == "wait" and not (directory / "go").exists():
        time.sleep(0.01)
    status = "diverged" if fate == "diverge" else "complete"
    result = {"status": status, "steps": 10, "tokens": 2560, "flops": 1e9, "seconds": 0.5,
              "params": {"matmul": 100, "matmul_body": 90, "total": 120},
              "final": {"eval/heldout/nll": 2.5, "eval/heldout/bits_per_byte": 3.6},
              "message": "loss is nan at step 3" if status == "diverged" else None}
    draft = run / "draft"
    draft.write_text(json.dumps(result))
    os.replace(draft, run / "result.json")
    lock.close()
"""
)


def resolve(overrides: dict) -> dict:
    """The base with the overrides, dotted keys taken apart."""
    config = copy.deepcopy(BASE)
    for key, value in overrides.items():
        *path, last = key.split(".")
        node = config
        for part in path:
            node = node[part]
        node[last] = value
    return config


def study_of(sweep: list, name: str = "fake") -> Study:
    return Study(name, "Does it finish?", ConfigDict(BASE), sweep, {"kind": "table"})


def invocations(directory: Path) -> list[list[str]]:
    """[name, pid, cores] of every run that a worker began, in order: a run that is redone is there
    twice.
    """
    path = directory / "invocations"
    return (
        [line.split(maxsplit=2) for line in path.read_text().splitlines()] if path.exists() else []
    )


def alive(pid: int) -> bool:
    """Whether the process still runs; a zombie that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if not Path("/proc/self/stat").exists():
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it has ended since
        return False


def command_in(folder: Path):
    """The command of the fake worker, whose script it writes into the folder."""
    script = folder / "worker.py"
    script.write_text(WORKER)
    return lambda directory, names: [
        sys.executable,
        "-I",
        "-S",
        str(script),
        str(directory),
        *names,
    ]


def no_costs(workers):
    """The costs of the units of a sweep without runs."""
    return []


def wait_for(condition, seconds: float = 120.0):
    """What the condition returns once it is true; a busy machine may take its time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value
