"""The run that `train.branch_from` names, the trunk, at the step at which another run leaves it.

A run is a function of its config: batches and keys follow from the step, and the rate from the step
and the horizon. So runs that differ in the horizon alone are one run for as long as their rates are
equal, as in the stable part of `wsd` (2404.06395), and the trunk's state is that of the branch.
What could make it another state is refused here.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from lm_lab import registry
from lm_lab.runs import commits, history
from lm_lab.runs.config import NAME_A_RUN, read_config_file
from lm_lab.runs.records import read_result
from lm_lab.runs.sealed import Damaged
from lm_lab.runs.trust import packages_of, trusting
from lm_lab.schema import build
from lm_lab.train import carried, restore
from lm_lab.train.counters import ACCUMULATION, BRANCHED, fault_of
from lm_lab.train.identity import show
from lm_lab.train.optimizer import Update
from lm_lab.train.run import BoundRun
from lm_lab.train.sections import END, decides, differences, key_table
from lm_lab.types import UserError

KEY, STEP = "config.train.branch_from", "config.train.branch_step"
# counters that go on
TAKEN = ("text", "base", "bytes", "since_log", "final", ACCUMULATION, history.MARK)


class Origin(NamedTuple):
    """A verified checkpoint of a trunk, where a branch begins."""

    directory: Path  # of the trunk
    folder: Path  # of the checkpoint
    arrays: dict[str, str]  # as in commits.Record
    extra: dict[str, Any]  # the counters that the branch takes up
    lines: list[bytes]  # of metrics.jsonl until then
    steps: int  # of the trunk
    factor: Callable[[Array], Array]  # the trunk's share of its peak rate, at steps

    @property
    def step(self) -> int:
        """The steps that the trunk has made there."""
        return self.extra[BRANCHED]

    def check(self, update: Update, steps: int, text: str, base: str) -> None:
        """Raises UserError where a run of `steps` would not have come to this state: for its rates
        (`update`), its text or its frozen parameters, which are given by their hashes.
        """
        if self.step >= steps:
            raise UserError(
                f"{STEP} {self.step} is not before the end of the run, at step {steps}; branch "
                "from an earlier step, or ask for more steps"
            )
        if self.extra.get("text", text) != text:
            raise UserError(f"{KEY}: {self.directory} was trained on other text; give the same")
        if self.extra.get("base", base) != base:
            raise UserError(
                f"{KEY}: {self.directory} was trained on other frozen parameters; give the same"
            )
        step = jnp.arange(self.step)
        there, here = np.asarray(self.factor(step)), np.asarray(update.rate_factor(step, steps))
        if (parts := np.flatnonzero(there != here)).size:
            first = int(parts[0])
            raise UserError(
                f"{KEY}: at step {first} the rate of {self.directory}, a run of {self.steps} "
                f"steps, is {there[first]:.6g} of its peak, and in this run of {steps} steps "
                f"{here[first]:.6g}; "
                + (
                    f"branch from step {first} or before"
                    if first
                    else "give both the same warm-up, in config.schedule.warmup_steps"
                )
            )


def check_place(run: BoundRun) -> None:
    """Raises UserError where a branch is asked to begin in its trunk's own directory."""
    named = run.experiment.train.branch_from
    if named is not None and run.directory.absolute() == Path(named):
        raise UserError(f"{KEY} is the run's own directory; give the branch one of its own")


def find(run: BoundRun) -> Origin:
    """The checkpoint at which a branch begins. Raises UserError where it is not there or damaged,
    or is of a run that differs in more than horizon and schedule.
    """
    train = run.experiment.train
    assert train.branch_from is not None
    assert train.branch_step is not None
    directory = carried.base_of(run.directory, train.branch_from)
    if not (directory / "config.json").is_file():
        raise UserError(f"{KEY}: {directory} is no run's directory, for it has no config.json")
    with trusting(packages_of(run.experiment.modules)):
        stored = restore.read_config(directory)
    _check_same(run, directory, stored)
    folder = _folder(directory, train.branch_step)
    identity, _ = read_config_file(directory / "config.json")
    record = _record(folder, identity)
    if (steps := record.extra.get("steps")) is None:
        raise UserError(f"{folder} does not say its run's horizon; {_REMEDY}")
    lines = history.lines_until(history.read_lines(directory), record.step, record.extra)
    taken = {key: record.extra[key] for key in TAKEN if key in record.extra}
    extra = {**taken, BRANCHED: record.step}
    factor = _factor(stored, directory, steps)
    return Origin(directory, folder, record.arrays, extra, lines, steps, factor)


def _check_same(run: BoundRun, directory: Path, stored: Mapping[str, Any]) -> None:
    """Raises UserError where the trunk differs in a key that decides the state."""
    if "train" not in stored:
        raise UserError(f"{KEY}: {directory} holds a model alone, and no run; {NAME_A_RUN}")
    resolved = json.loads(json.dumps(carried.relative(run.resolved)))
    table = key_table(resolved)
    for change in differences(stored, resolved, table):
        apart = change.key in (*END, *table.files) or change.key.startswith("schedule.")
        if decides(change.key, table) and not apart:
            raise UserError(
                f"{KEY}: config.{change.key} is {show(change.stored)} in {directory} and "
                f"{show(change.asked)} here, which makes another state; give the same, or leave "
                "branch_from out"
            )
    carried.check(directory, run.experiment)


_REMEDY = "name another branch_step, or leave branch_from out"


def _folder(directory: Path, step: int) -> Path:
    """The folder of the trunk's commit of a step."""
    folder = commits.folder_of(directory.absolute() / "checkpoints", step)
    if commits.is_committed(folder):
        return folder
    there = sorted(commits.step_of(other) for other in commits.committed(folder.parent))
    listed = f"those of steps {', '.join(map(str, there))}" if there else "no checkpoints"
    result = read_result(directory)
    mend = f"train it with --config.train.keep_steps='({step},)'"
    if result is None:
        mend = "train it further, for it has not ended"
    raise UserError(
        f"{STEP}: {directory} has {listed}, and none of step {step}; name one that is there, or "
        f"{mend}"
    )


def _record(folder: Path, identity: str) -> commits.Record:
    """What a commit says, its files verified."""
    try:
        record = commits.read_record(folder, verified=True)
        if record.spec_hash != identity:
            raise Damaged("it is of another run")
        if fault := fault_of(record.extra):
            raise Damaged(fault)
    except Damaged as fault:
        raise UserError(f"{folder} is damaged ({fault}); {_REMEDY}") from None
    return record


def _factor(stored: Mapping[str, Any], directory: Path, steps: int) -> Callable[[Array], Array]:
    """The trunk's schedule, as a function of the step."""
    where = f"{directory / 'config.json'}: config.schedule"
    settings = dict(stored["schedule"])
    schedule = registry.load("schedules", settings.pop("name"), f"{where}.name")
    config = build(schedule.Config, settings, where)
    return lambda step: schedule.factor(config, step, steps)
