"""Where the runs of a sweep are, by its directory alone: from any process, on any machine."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_lab.runs.status import Status, newest_training, result_of, run_status
from lm_lab.runs.sweep import Planned, read_sweep, run_directory
from lm_lab.sweeps.groups import cost, paid
from lm_lab.sweeps.store import varied


@dataclass(frozen=True)
class RunView:
    """A run: what it varies, the share of its cost that is paid, and its newest numbers."""

    name: str
    varied: str
    status: Status
    cost: float  # groups.cost
    share: float  # 0 .. 1
    loss: float | None  # in training, nats a token; None before its first line
    bits_per_byte: float | None  # held out, once it is complete
    message: str | None
    pace: float | None  # cost a second since it began here; of runs under way


@dataclass(frozen=True)
class Overview:
    """A sweep as it stands."""

    name: str
    question: str
    runs: Sequence[RunView]

    def having(self, *statuses: Status) -> list[RunView]:
        """The runs of some statuses."""
        return [run for run in self.runs if run.status in statuses]

    @property
    def share(self) -> float:
        """Of the cost of all runs, what is paid."""
        return sum(run.share * run.cost for run in self.runs) / sum(run.cost for run in self.runs)

    @property
    def best(self) -> RunView | None:
        """The complete run with the lowest held-out bits per byte."""
        known = [run for run in self.runs if run.bits_per_byte is not None]
        return min(known, key=lambda run: run.bits_per_byte or 0.0, default=None)

    @property
    def seconds_left(self) -> float | None:
        """What is unpaid at the pace of the runs under way; None where none of them has a pace."""
        pace = sum(run.pace or 0.0 for run in self.runs)
        left = sum((1 - run.share) * run.cost for run in self.having("missing", "running"))
        return left / pace if pace else None

    @property
    def is_over(self) -> bool:
        """Whether every run has ended."""
        return not self.having("missing", "running")


def overview(directory: Path) -> Overview:
    """Reads a sweep's directory; changes nothing. Raises UserError where there is no sweep."""
    study = read_sweep(directory)
    words = varied(study.runs)
    runs = [_view(run, words[run.name], run_directory(directory, run.name)) for run in study.runs]
    return Overview(study.name, study.question, runs)


def _view(run: Planned, words: str, directory: Path) -> RunView:
    status, result, share, pace, loss = run_status(directory), result_of(directory), 0.0, None, None
    if status in ("complete", "diverged", "pruned", "failed"):
        share = 1.0
    elif (line := newest_training(directory)) is not None:
        share, loss = paid(run.config, line["tokens"], line["flops"]), line["train/nll"]
        if status == "running":
            pace = share * cost(run.config) / max(1.0, time.time() - _began(directory))
    return RunView(
        run.name,
        words,
        status,
        cost(run.config),
        share,
        loss,
        (result.get("final") or {}).get("eval/heldout/bits_per_byte")
        if status == "complete"
        else None,
        result.get("message"),
        pace,
    )


def _began(directory: Path) -> float:
    """When the run's directory was made: its config.json is written once."""
    try:
        return (directory / "config.json").stat().st_mtime
    except OSError:
        return time.time()
