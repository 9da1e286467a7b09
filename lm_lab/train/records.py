"""The records of a run, readable without lm_lab: config, environment, metrics and result in one folder.

JSON knows no NaN and no infinity: a number that is not finite is written as null.
"""

import importlib.metadata
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from lm_lab import durable
from lm_lab.train.events import Events
from lm_lab.train.files import atomic_write, explained
from lm_lab.types import UserError

PACKAGES = ("lm_lab", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def environment() -> dict[str, Any]:
    """Versions, devices, processor, git commit of the code, and the command line.

    The name of the host and the path of the program are left out: records are published.
    """
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        **{name.replace("-", "_"): _version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "devices": {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)},
        "git": _git(Path(__file__).resolve()),
        "command": _command(sys.argv),
    }


def write_environment(directory: Path) -> None:
    """Writes environment.json: that of the newest launch."""
    atomic_write(directory / "environment.json", _dump(environment()))


def write_result(directory: Path, result: Mapping[str, Any]) -> None:
    """Writes result.json, atomically and durably: written last, its presence says that the run has ended."""
    atomic_write(directory / "result.json", _dump(_plain(result)))


def read_result(directory: Path) -> dict[str, Any] | None:
    """The result of a run, or None if it has not ended. Raises UserError if the file is not what we write."""
    path = directory / "result.json"
    result = _load(path) if path.exists() else None
    if result is not None and not isinstance(result, dict):
        raise UserError(f"{path}: not the result of a run; delete it to go on from the newest checkpoint")
    return result


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """All lines of metrics.jsonl, null as NaN. A last line that a kill cut short is left out.

    Raises UserError naming the line, if an earlier one is not a record.
    """
    path = directory / "metrics.jsonl"
    lines = durable.read_bytes(path).split(b"\n") if path.exists() else []
    records = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline was never finished
        try:
            record = json.loads(line)
            record["step"]
        except (ValueError, TypeError, KeyError):
            raise UserError(f"{path}, line {number}: not a record; delete the run's folder to start again") from None
        records.append({name: math.nan if value is None else value for name, value in record.items()})
    return records


class Metrics:
    """The growing metrics.jsonl of a run, and its TensorBoard events, inside `with`.

    `resume_step` is the step of the restored checkpoint, None for a fresh start: lines of later steps (all, for None)
    are dropped first, so that a resumed run leaves the lines of an undisturbed one. Each line reaches the operating
    system before `write` returns, so kill -9 loses none; `sync`, before a save, guards them against a power cut.

    metrics.jsonl is the source of truth: the events are written afresh from it at each start, so that no step appears
    twice, whatever program reads them. Raises UserError naming the path where writing fails.
    """

    def __init__(self, directory: Path, resume_step: int | None) -> None:
        self._directory = directory
        self._resume_step = resume_step

    def __enter__(self) -> "Metrics":
        path = self._directory / "metrics.jsonl"
        limit = -1 if self._resume_step is None else self._resume_step
        kept = [record for record in read_metrics(self._directory) if record["step"] <= limit]
        atomic_write(path, "".join(_line(record) for record in kept))
        with explained(path, "write"):
            self._file = path.open("a", encoding="utf-8")
        self._events = Events(self._directory / "tensorboard", kept)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._events.close()

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends one line: "step" and numbers by name (Python, NumPy or JAX scalars)."""
        plain = _plain(record)
        with explained(Path(self._file.name), "write"):
            self._file.write(_line(plain))
            self._file.flush()
        self._events.write(plain)

    def sync(self) -> None:
        """Waits until every line is on the disk."""
        with explained(Path(self._file.name), "write"):
            os.fsync(self._file.fileno())


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(_plain(record), allow_nan=False) + "\n"


def _dump(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """The value in JSON's types: arrays' scalars as Python numbers, tuples as lists, what is not finite as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _load(path: Path) -> Any:
    try:
        return json.loads(durable.read_bytes(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot read ({error}); delete the run's folder to start again") from None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(file: Path) -> dict[str, Any] | None:
    """The commit of the tree that tracks the file (an environment inside another project's tree is not it)."""

    def ask(*words: str) -> str:
        command = ["git", "-C", str(file.parent), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        ask("ls-files", "--error-unmatch", file.name)
        return {"commit": ask("rev-parse", "HEAD"), "dirty": ask("status", "--porcelain") != ""}
    except (OSError, subprocess.CalledProcessError):
        return None


def _command(arguments: list[str]) -> str:
    program = Path(arguments[0])
    name = ["python", "-m", program.parent.name] if program.name == "__main__.py" else [program.name]
    return shlex.join([*name, *arguments[1:]])
