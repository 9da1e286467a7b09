"""What came of a sweep, from its run directories alone: the status of every run, rows, results.csv."""

import csv
import fcntl
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from lm_lab.runs.files import Unreadable, atomic_write
from lm_lab.runs.records import read_result
from lm_lab.sweeps.store import Planned, planned_runs, read, run_directory

Status = Literal["missing", "running", "complete", "diverged", "failed"]
Row = dict[str, Any]

FINISHED: tuple[Status, ...] = ("complete", "diverged")
"""What a relaunch leaves alone: a run that diverged would diverge again, to the bit."""

LOCK = "checkpoints/lock"  # held for life by the process that works on the run (runs/checkpoint.py)


def status(directory: Path) -> dict[str, Status]:
    """The state of every run of the sweep by name. Missing: never started, or stopped on the way."""
    return {
        run.name: run_status(run_directory(directory, run.name))
        for run in planned_runs(read(directory))
    }


def run_status(directory: Path) -> Status:
    """The state of one run. A stored failure that is being retried counts as running."""
    stored = result_of(directory).get("status")
    if stored in FINISHED:
        return cast(Status, stored)
    if _held(directory / LOCK):
        return "running"
    return "failed" if stored == "failed" else "missing"


def result_of(directory: Path) -> dict[str, Any]:
    """The run's result.json; empty where it has none yet, or one that is damaged: training sets
    that aside.
    """
    try:
        return read_result(directory) or {}
    except Unreadable:
        return {}


def collect(directory: Path) -> list[Row]:
    """A row for every run of the sweep, in its order; what a run does not know yet is None.

    name, status, message; a column for every key that any run overrides (the resolved value in runs
    that do not), and for the peak rate; budget_flops; params (N: matmul parameters with the head),
    params_body, params_total; tokens (D); flops (C, counted); loss (nats a token, held out);
    bits_per_byte (held out), and NAME_bits_per_byte for every exam of train.also_evaluate; seconds
    (training) and compile_seconds (apart; None in runs of old, whose seconds hold both). Raises
    UserError where the folder holds no sweep.
    """
    return rows_of(planned_runs(read(directory)), directory)


def rows_of(runs: Sequence[Planned], directory: Path) -> list[Row]:
    """The rows of `collect`, of runs whether they have begun or not."""
    keys = list(
        dict.fromkeys([*(key for run in runs for key in run.overrides), "optimizer.peak_rate"])
    )
    exams = list(
        dict.fromkeys(exam for run in runs for exam in _at(run.config, "train.also_evaluate") or ())
    )
    return [_row(run, keys, exams, run_directory(directory, run.name)) for run in runs]


def write_results(directory: Path, rows: list[Row]) -> None:
    """Write the rows as results.csv, atomically: floats by repr, None as nothing."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(directory / "results.csv", text.getvalue())


def _row(run: Planned, keys: list[str], exams: list[str], directory: Path) -> Row:
    result = result_of(directory)
    params, final = result.get("params") or {}, result.get("final") or {}
    state = run_status(directory)
    return {
        "name": run.name,
        "status": state,
        "message": None if state == "running" else result.get("message"),
        **{
            key: run.overrides[key] if key in run.overrides else _at(run.config, key)
            for key in keys
        },
        "budget_flops": _at(run.config, "train.budget_flops"),
        "params": params.get("matmul"),
        "params_body": params.get("matmul_body"),
        "params_total": params.get("total"),
        "tokens": result.get("tokens"),
        "flops": result.get("flops"),
        "loss": final.get("eval/heldout/nll"),
        "bits_per_byte": final.get("eval/heldout/bits_per_byte"),
        **{f"{exam}_bits_per_byte": final.get(f"eval/{exam}/bits_per_byte") for exam in exams},
        "seconds": result.get("seconds"),
        "compile_seconds": result.get("compile_seconds"),
    }


def _at(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _held(lock: Path) -> bool:
    """Whether a living process holds the flock. Asks for a shared one and gives it back at once."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
