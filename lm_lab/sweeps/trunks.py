"""Branches within a study: a point with `train.branch_step` and no `train.branch_from` leaves the
run of the study that has the same settings, but for horizon and schedule, at that step.

In the configs of such runs `train.branch_from` is the name of that run, whose directory stands
beside their own.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lm_lab.runs.commits import committed, folder_of
from lm_lab.runs.sealed import MANIFEST
from lm_lab.runs.sweep import Planned, run_directory
from lm_lab.sweeps.algebra import Point
from lm_lab.train.sections import END, deciding, key_table
from lm_lab.types import UserError

T = TypeVar("T")
FROM, STEP = "train.branch_from", "train.branch_step"
ASKED = "of this study"  # in the place of a name that is not known yet


def asking(base: Mapping[str, Any], point: Point) -> Point:
    """The point, with a trunk of this study where it names a step and no trunk."""
    train = base.get("train", {})
    trunk, step = (point.get(key, train.get(key.partition(".")[2])) for key in (FROM, STEP))
    asks = step is not None and trunk is None
    return {**point, FROM: ASKED} if asks else point


def with_trunk(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The config with the name of a run of its study as its trunk."""
    return {**config, "train": {**config["train"], "branch_from": name}}


def trunk_of(config: Mapping[str, Any]) -> str | None:
    """The name of the run of its own study that a run leaves; None where it leaves none."""
    named = config["train"].get("branch_from")
    return None if named is None or Path(named).is_absolute() else named


def is_branch(run: Planned) -> bool:
    """Whether the run waits for another of its study."""
    return trunk_of(run.config) is not None


def connect(planned: Sequence[Planned], describe: Callable[[Point], str]) -> list[Planned]:
    """The runs, with the name of its trunk in each branch. Raises UserError where there is no such
    run, or more than one.
    """
    trunks: dict[str, list[Planned]] = {}
    for run in planned:
        if run.config["train"].get("keep_steps") and not is_branch(run):
            trunks.setdefault(_shared(run.config), []).append(run)

    def connected(run: Planned) -> Planned:
        if not is_branch(run):
            return run
        step = run.config["train"]["branch_step"]
        found = [
            each.name
            for each in trunks.get(_shared(run.config), [])
            if step in each.config["train"]["keep_steps"]
        ]
        if len(found) != 1:
            there = f"{len(found)} runs" if found else "no run"
            raise UserError(
                f"point ({describe(run.overrides)}): {there} of the study with the same settings, "
                f"but for horizon and schedule, has {step} in train.keep_steps; let one have it, "
                f"or name a trunk by {FROM}"
            )
        return dataclasses.replace(run, config=with_trunk(run.config, found[0]))

    return [connected(run) for run in planned]


def renamed(run: Planned, names: Mapping[str, str]) -> Planned:
    """The run, where some of its study go by other names."""
    run = dataclasses.replace(run, name=names.get(run.name, run.name))
    trunk = trunk_of(run.config)
    if trunk is None or trunk not in names:
        return run
    return dataclasses.replace(run, config=with_trunk(run.config, names[trunk]))


def awaited(directory: Path, run: Planned) -> Path | None:
    """The file whose presence says that the trunk of a run has kept the step at which it begins;
    None for a run that needs none, as it is no branch, or has saved once itself.
    """
    trunk = trunk_of(run.config)
    if trunk is None or committed(run_directory(directory, run.name) / "checkpoints"):
        return None
    step = run.config["train"]["branch_step"]
    return folder_of(run_directory(directory, trunk) / "checkpoints", step) / MANIFEST


def stages(items: Sequence[T], branches: Callable[[T], bool]) -> list[list[T]]:
    """Trunks and other runs, then those that wait for a trunk; no stage is empty."""
    parts = [[item for item in items if branches(item) == late] for late in (False, True)]
    return [part for part in parts if part]


def check_held(planned: Sequence[Planned], held: Sequence[Planned]) -> None:
    """Raises UserError where a held-out run is the trunk of one that is fitted: it would begin
    before the forecast of it.
    """
    names = {run.name for run in held}
    for run in planned:
        if run.name not in names and trunk_of(run.config) in names:
            raise UserError(
                f"run {trunk_of(run.config)} is held out, and the trunk of {run.name}, which is "
                "fitted; give held-out runs a trunk of their own, or none"
            )


def _shared(config: Mapping[str, Any]) -> str:
    """The settings that a branch and its trunk share."""
    values = deciding(config, key_table(config))
    kept = {
        key: value
        for key, value in values.items()
        if key not in END and not key.startswith("schedule.")
    }
    return json.dumps(kept, sort_keys=True)
