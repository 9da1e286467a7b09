"""How far a run is, by its directory alone."""

import json
import logging
import os
from pathlib import Path
from typing import Any, Literal, cast

from lm_lab.runs.commits import LOCK
from lm_lab.runs.history import METRICS
from lm_lab.runs.locks import is_locked
from lm_lab.runs.reading import Unreadable
from lm_lab.runs.records import read_result

logger = logging.getLogger(__name__)

Status = Literal["missing", "running", "complete", "diverged", "pruned", "failed"]

FINISHED: tuple[Status, ...] = ("complete", "diverged", "pruned")
"""What a relaunch leaves alone: a run that diverged would diverge again, to the bit; one that was
pruned was asked to end early.
"""

_TAIL_BYTES = 8192  # of metrics.jsonl: some ten lines


def run_status(directory: Path) -> Status:
    """The status of a run. "missing": never started, or stopped on the way.

    A stored failure that is being retried counts as running.
    """
    stored = result_of(directory).get("status")
    if stored in FINISHED:
        return cast(Status, stored)
    if is_locked(directory / "checkpoints" / LOCK):
        return "running"
    return "failed" if stored == "failed" else "missing"


def result_of(directory: Path) -> dict[str, Any]:
    """The run's result.json; empty if it is absent, or damaged, when training sets it aside."""
    try:
        return read_result(directory) or {}
    except Unreadable:
        return {}


def warn_if_diverged(directory: Path) -> None:
    """Warns that the newest checkpoint of a run that diverged may be no model."""
    result = result_of(directory)
    if result.get("status") == "diverged":
        logger.warning(
            "%s diverged, and what its model gives may mean nothing: %s",
            directory,
            result.get("message"),
        )


def newest_training(directory: Path) -> dict[str, float] | None:
    """How far metrics.jsonl says that the run is: its newest `train/nll` (nats a token), and the
    `tokens` and `flops` until then; None if its end does not say it.
    """
    try:
        with (directory / METRICS).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return None
    for line in reversed(lines):
        if b'"train/nll"' in line:
            try:
                record = json.loads(line)
                return {name: float(record[name]) for name in ("train/nll", "tokens", "flops")}
            except (ValueError, TypeError, KeyError, RecursionError):
                continue  # the first and the last line may be cut
    return None
