"""The runs of a study: named by the hash of their resolved configs, and matched with the runs
stored in the sweep's directory.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lm_lab.runs.sweep import Planned, SweepRecord, read_sweep, write_sweep
from lm_lab.sweeps import trunks
from lm_lab.sweeps.algebra import Point
from lm_lab.sweeps.study import Study
from lm_lab.train.identity import name_of, show
from lm_lab.train.sections import (
    KeyTable,
    deciding,
    differences,
    key_table,
    named_together,
    names_modules_of,
    spec,
)
from lm_lab.types import UserError
from lm_lab.values import table_value

Config = dict[str, Any]
Resolve = Callable[[Point], Config]
"""Overrides -> the resolved, complete config of the run, in plain JSON values. Raises UserError."""


def describe(overrides: Point) -> str:
    """A point in one line: "model.width=16, seed=0"."""
    return ", ".join(f"{key}={value}" for key, value in overrides.items()) or "no overrides"


def varied(planned: Sequence[Planned]) -> dict[str, str]:
    """What tells each run from others, in one line by its name: overrides that all share are left
    out, and numbers have five digits.
    """
    shared = _shared(planned)
    return {
        run.name: ", ".join(
            f"{key}={_short(value)}"
            for key, value in run.overrides.items()
            if str((key, value)) not in shared
        )
        for run in planned
    }


def varied_columns(planned: Sequence[Planned]) -> list[list[str]]:
    """A table of the same: a row of keys, without their sections where that leaves them apart, and
    a row for each run; "" where a run does not override the key.
    """
    shared = _shared(planned)
    keys = list(
        dict.fromkeys(
            key
            for run in planned
            for key, value in run.overrides.items()
            if str((key, value)) not in shared
        )
    )
    ends = Counter(key.rpartition(".")[2] for key in keys)
    header = [end if ends[end := key.rpartition(".")[2]] == 1 else key for key in keys]
    rows = [[_short(run.overrides.get(key, "")) for key in keys] for run in planned]
    return [header, *rows]


def _shared(planned: Sequence[Planned]) -> set[str]:
    """The overrides that all runs have."""
    return set.intersection(*({*map(str, run.overrides.items())} for run in planned))


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(table_value(value))


def plan(study: Study, resolve: Resolve) -> list[Planned]:
    """The runs of a study, in the order of its sweep; points with equal configs are one run.

    Every point is resolved before any run starts. Raises UserError naming the point that is wrong.
    """
    runs: dict[str, Planned] = {}
    base = study.base.to_dict()
    for number, overrides in enumerate(study.sweep, start=1):
        try:
            config = resolve(asked := trunks.asking(base, overrides))
            if asked.get(trunks.FROM) == trunks.ASKED:
                config = trunks.with_trunk(config, trunks.ASKED)
        except UserError as error:
            point = f"point {number} of {len(study.sweep)} ({describe(overrides)})"
            raise UserError(f"study {study.name!r}, {point}: {error}") from None
        name = name_of(config)
        runs.setdefault(name, Planned(name, dict(overrides), config))
    return trunks.connect(list(runs.values()), describe)


def adopt(directory: Path, planned: Sequence[Planned]) -> list[Planned]:
    """The runs with the names that the directory's sweep.json has for them, so that stored runs are
    not computed again, also those that the study had before it shrank.

    A run matches a stored one if both have the same values beyond the defaults, whatever keys a
    release has added; else if both have the same values of all keys that decide the result, and no
    other run has, as when the mesh was changed.
    """
    stored = _stored_runs(directory)
    allowed = named_together([run.config for run in planned]) if stored else []
    # Stored runs with other modules cannot match, and their modules are not imported.
    stored = [run for run in stored if names_modules_of(run.config, allowed)]
    names: dict[str, str] = {}
    for view in (spec, deciding):
        stored_by = _by_view(view, [run for run in stored if run.name not in names.values()])
        planned_by = _by_view(view, [run for run in planned if run.name not in names])
        for text, runs in planned_by.items():
            if len(runs) == len(stored_by.get(text, ())) == 1:
                names[runs[0].name] = stored_by[text][0].name
    return [trunks.renamed(run, names) for run in planned]


def _stored_runs(directory: Path) -> list[Planned]:
    if not (directory / "sweep.json").exists():
        return []
    sweep = read_sweep(directory)
    return [*sweep.runs, *sweep.former]


def _by_view(
    view: Callable[[Config, KeyTable], Config], runs: Sequence[Planned]
) -> dict[str, list[Planned]]:
    """The runs by the JSON of `view(config)`."""
    by_text: dict[str, list[Planned]] = {}
    for run in runs:
        text = json.dumps(view(run.config, key_table(run.config)), sort_keys=True)
        by_text.setdefault(text, []).append(run)
    return by_text


def write(
    directory: Path,
    study: Study,
    planned: Sequence[Planned],
    environment: Mapping[str, Any],
    proposed: Sequence[Sequence[Point]] = (),
) -> None:
    """Writes sweep.json, with the points that a search has proposed, by round; one that is already
    there keeps its date, its registered forecasts, and the runs that the study has no more.

    Raises UserError as `check`.
    """
    stored = check(directory, study, planned)
    names = {run.name for run in planned}
    sweep = SweepRecord(
        name=study.name,
        question=study.question,
        analysis=dict(study.analysis),
        runs=list(planned),
        command=environment["command"],
        environment=dict(environment),
        created=stored.created if stored else datetime.now(UTC).isoformat(timespec="seconds"),
        forecasts=stored.forecasts if stored else [],
        proposed=[list(points) for points in proposed or (stored.proposed if stored else [])],
        former=[run for run in _stored_runs(directory) if run.name not in names],
    )
    write_sweep(directory, sweep)


def is_written(directory: Path, study: Study, planned: Sequence[Planned]) -> bool:
    """Whether sweep.json already describes this study. Raises UserError as `check`."""
    stored = check(directory, study, planned)
    if stored is None:
        return False
    asked = [study.question, dict(study.analysis), [dataclasses.asdict(run) for run in planned]]
    runs = [dataclasses.asdict(run) for run in stored.runs]
    return json.loads(json.dumps(asked)) == [stored.question, stored.analysis, runs]


def check(directory: Path, study: Study, planned: Sequence[Planned]) -> SweepRecord | None:
    """The directory's sweep.json, if any. Raises UserError where the study does not belong there,
    naming what differs.

    A study may have more runs or fewer, another question or another analysis than the stored one.
    With another name, or other runs in the place of stored ones, it is a different study. Runs that
    a registered forecast names must stay.
    """
    if (directory / "config.json").exists():
        raise UserError(f"{directory} holds a run, not a sweep; use another directory")
    if not (directory / "sweep.json").exists():
        return None
    stored = read_sweep(directory)
    if stored.name != study.name:
        raise UserError(
            f"{directory} holds study {stored.name!r}, not {study.name!r}; use another directory"
        )
    names = {run.name for run in planned}
    lost = [run for run in stored.runs if run.name not in names]
    if lost and not names <= {run.name for run in (*stored.runs, *stored.former)}:
        now = next((run for run in planned if run.overrides == lost[0].overrides), None)
        changed = differences(lost[0].config, now.config, key_table(now.config)) if now else []
        difference = "".join(
            f" (config.{each.key} was {show(each.stored)}, is {show(each.asked)})"
            for each in changed[:1]
        )
        raise UserError(
            f"{directory} holds {len(lost)} runs that study {study.name!r} no longer has, first: "
            f"{describe(lost[0].overrides)}{difference}; use another directory, or add or remove "
            "points, not both"
        )
    kept = {name for each in stored.forecasts for name in (*each.fitted, *each.held_out)}
    if named := [run for run in lost if run.name in kept]:
        raise UserError(
            f"{directory}: a forecast is registered of runs that study {study.name!r} no longer "
            f"has, first: {describe(named[0].overrides)}; put them back, or use another directory"
        )
    return stored
