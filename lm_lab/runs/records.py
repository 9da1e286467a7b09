"""The records of a run, readable without lm_lab: environment, metrics and result.

JSON has no NaN and no infinity: a number that is not finite is written as null.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import logging
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any

import jax
import numpy as np

from lm_lab.runs import history, tracking
from lm_lab.runs.copies import Copy
from lm_lab.runs.durable import atomic_write, explained
from lm_lab.runs.events import Events
from lm_lab.runs.history import Mark
from lm_lab.runs.reading import NUMBER, Unreadable, misfit, read_object

logger = logging.getLogger(__name__)

_REMEDY = (
    "train the run again by its command, which sets the file aside and goes on from the newest "
    "checkpoint"
)
_RESULT_TYPES = {
    "status": str,
    "steps": int,
    "tokens": NUMBER,
    "flops": NUMBER,
    "branch_step": int,
    "paid_flops": NUMBER,
    "reference_flops": NUMBER,
    "bytes": NUMBER,
    "lost_steps": int,
    "flops_per_token": dict,
    "params": dict,
    "final": dict,
    "seconds": NUMBER,
    "compile_seconds": NUMBER,
    "tokens_per_second": (*NUMBER, NoneType),
    "text": str,
    "message": (str, NoneType),
}
NO_REVISIONS: Mapping[str, str] = {}
PRUNE = "prune"
"""The file in a run's directory that asks it to end after its next evaluation, with the reason."""
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
        "cores": len(usable_cores()),
        "devices": {
            "kind": devices[0].device_kind,
            "platform": devices[0].platform,
            "count": len(devices),
        },
        "git": _git(Path(__file__).resolve()),
        "command": _command(sys.argv),
    }


def write_environment(directory: Path, revisions: Mapping[str, str] = NO_REVISIONS) -> None:
    """Writes environment.json, which describes the newest launch, with the commits of its data sets
    by key. Raises UserError.
    """
    known = {"revisions": dict(revisions)} if revisions else {}
    atomic_write(directory / "environment.json", _dump(environment() | known))


def read_revisions(directory: Path) -> dict[str, str]:
    """The commits of data sets that environment.json names; {} where it cannot be read."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = json.loads((directory / "environment.json").read_text()).get("revisions")
        return found if isinstance(found, dict) else {}
    return {}


def write_result(directory: Path, result: Mapping[str, Any]) -> None:
    """Writes result.json, last of all: its presence says that the run has ended.

    Raises UserError.
    """
    atomic_write(directory / "result.json", _dump(_plain(result)))


def read_result(directory: Path) -> dict[str, Any] | None:
    """The result of a run, None if it has not ended. Raises Unreadable for a damaged file."""
    path = directory / "result.json"
    if not path.exists():
        return None
    result = read_object(path, _REMEDY)
    if wrong := _fault(result):
        raise Unreadable(path, f"not the result of a run ({wrong})", _REMEDY)
    return result


def _fault(result: Mapping[str, Any]) -> str | None:
    """Why a result cannot be one that lm_lab wrote; None if it can."""
    status = result.get("status")
    ended = status in ("complete", "diverged", "pruned")
    absent = [
        name for name in ("status", *(("steps", "final") if ended else ())) if name not in result
    ]
    if absent:
        return f"{absent[0]} is absent"
    if wrong := misfit(result, _RESULT_TYPES):
        return wrong
    if not ended and status != "failed":
        return f"status is {json.dumps(status)}"
    tables = [result.get(name, {}) for name in ("final", "params", "flops_per_token")]
    faults = [misfit(table, dict.fromkeys(table, (*NUMBER, NoneType))) for table in tables]
    return next((fault for fault in faults if fault), None)


def why_pruned(directory: Path) -> str | None:
    """Why the launch asks a run to end early; None where it does not. Raises OSError."""
    file = directory / PRUNE
    return file.read_text(errors="replace").strip() if file.exists() else None


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The records in metrics.jsonl, null as NaN.

    A last line that a kill cut short is left out; any other line that is no record, with a warning.
    """
    records = []
    for number, line in enumerate(history.read_lines(directory), start=1):
        record = history.parse(line)
        if record is None:
            logger.warning(
                "%s, line %d: not a record; left out", directory / history.METRICS, number
            )
        else:
            records.append(
                {name: math.nan if value is None else value for name, value in record.items()}
            )
    return records


class Metrics:
    """Appends to the metrics.jsonl of a run, its TensorBoard events and, where it is asked for,
    its W&B run, inside `with`.

    `kept` are the lines with which a resumed run goes on (`history.lines_to_keep`); others are
    dropped, so that the file ends as that of an undisturbed run. `settings` of the run, by dotted
    key, stand in its events. Each line reaches the operating
    system before `write` returns, so kill -9 loses none; `sync`, before a save, guards them against
    a power cut.

    metrics.jsonl is the source of truth: the events are written afresh from it at each start, so
    that no step appears twice there. Raises UserError naming the path where writing fails.
    """

    def __init__(
        self,
        directory: Path,
        kept: Sequence[bytes] = (),
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._directory = directory
        self._kept = kept
        self._settings = settings

    def __enter__(self) -> "Metrics":
        path, kept = self._directory / history.METRICS, b"".join(self._kept)
        atomic_write(path, kept)
        self._lines, self._digest = len(self._kept), hashlib.sha256(kept)
        with explained(path, "write"):
            self._file = path.open("ab")
        self._copies = self._copied([json.loads(line) for line in self._kept])
        return self

    def _copied(self, records: Sequence[Mapping[str, Any]]) -> list[Copy]:
        """The copies of the lines, which hold these `records` so far."""
        directory, settings, project = self._directory, self._settings, tracking.project()
        folder = directory / "tensorboard"
        copies = [Copy(folder, "events", partial(Events, folder, records, settings))]
        if project:
            make = partial(tracking.Tracker, directory, project, records, settings)
            copies.append(Copy(directory, "W&B", make))
        return copies

    def __exit__(self, *_: object) -> None:
        self._file.close()
        for copy in self._copies:
            copy.close()

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends one line: "step" and numbers by name (Python, NumPy or JAX scalars)."""
        plain = _plain(record)
        line = (json.dumps(plain, allow_nan=False) + "\n").encode()
        with explained(Path(self._file.name), "write"):
            self._file.write(line)
            self._file.flush()
        self._lines += 1
        self._digest.update(line)
        for copy in self._copies:
            copy.write(plain)

    def sync(self) -> Mark:
        """Waits until every line is on the disk; returns the mark of them for a commit."""
        with explained(Path(self._file.name), "write"):
            os.fsync(self._file.fileno())
        return Mark(self._lines, self._digest.hexdigest())


def _dump(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """The value in JSON's types: scalars of NumPy and JAX as Python numbers, NaN and infinity as
    None.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray, jax.Array)):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def usable_cores() -> list[int]:
    """The cores that this process may use, by number; those of the machine where the system, other
    than Linux, does not say.
    """
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(file: Path) -> dict[str, Any] | None:
    """The commit of the tree that tracks the file; a tree that only surrounds it is not asked."""

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        ask("ls-files", "--error-unmatch", file.name)
        return {"commit": ask("rev-parse", "HEAD"), "dirty": ask("status", "--porcelain") != ""}
    except (OSError, subprocess.CalledProcessError):
        return None


def _command(arguments: list[str]) -> str:
    program = Path(arguments[0])
    name = (
        ["python", "-m", program.parent.name] if program.name == "__main__.py" else [program.name]
    )
    return shlex.join([*name, *arguments[1:]])
