"""What a sweep directory says will run: runs named by the hash of their resolved configs, and
sweep.json.

<sweep directory>/sweep.json  the study and its runs       <sweep directory>/runs/<name>/  a run directory each
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lm_lab.runs import durable
from lm_lab.runs.files import atomic_write, misfit
from lm_lab.sweeps.algebra import Point
from lm_lab.sweeps.study import Study
from lm_lab.train import versions
from lm_lab.train.identity import listed_runs, name_of, show
from lm_lab.train.sections import Known, deciding, differences, known, modules, spec
from lm_lab.types import UserError

Config = dict[str, Any]
RUN = {"name": str, "overrides": dict, "config": dict}  # the types of what sweep.json says of a run
Resolve = Callable[[Point], Config]
"""Overrides -> the resolved, complete config of the run, in plain JSON values. Raises UserError for
a bad one.
"""


@dataclasses.dataclass(frozen=True)
class Planned:
    """One run of a sweep: its name (a hash of its config when it was planned first), what it
    overrides, and its whole config.
    """

    name: str
    overrides: Point
    config: Config


def run_directory(directory: Path, name: str) -> Path:
    """Where a sweep keeps the run of that name."""
    return directory / "runs" / name


def describe(overrides: Point) -> str:
    """A point in one line: "model.width=16, seed=0"."""
    return ", ".join(f"{key}={value}" for key, value in overrides.items()) or "no overrides"


def plan(study: Study, resolve: Resolve) -> list[Planned]:
    """The runs of a study in the order of its sweep. Points that resolve to one config are one run,
    the first's.

    Every point is resolved, so that a mistake in the last one is found before the first one starts;
    it raises UserError with the point that it concerns.
    """
    runs: dict[str, Planned] = {}
    for number, overrides in enumerate(study.sweep, start=1):
        try:
            config = resolve(overrides)
        except UserError as error:
            point = f"point {number} of {len(study.sweep)} ({describe(overrides)})"
            raise UserError(f"study {study.name!r}, {point}: {error}") from None
        name = name_of(config)
        runs.setdefault(name, Planned(name, dict(overrides), config))
    return list(runs.values())


def adopt(directory: Path, planned: Sequence[Planned]) -> list[Planned]:
    """The same runs under the names that the directory's sweep.json has for them, so that nothing
    stored is redone.

    A run is a stored one if it says the same beyond the defaults, whatever keys a release has
    added; else if it alone says the same in all that decides the result, as when the mesh was
    changed.
    """
    stored = planned_runs(read(directory)) if (directory / "sweep.json").exists() else []
    named = [modules(run.config) for run in planned]
    stored = [
        run for run in stored if modules(run.config) in named
    ]  # modules that no planned run names stay unread
    names: dict[str, str] = {}
    for tell in (spec, deciding):
        there = _by_text(tell, [run for run in stored if run.name not in names.values()])
        here = _by_text(tell, [run for run in planned if run.name not in names])
        for text, runs in here.items():
            if len(runs) == len(there.get(text, ())) == 1:
                names[runs[0].name] = there[text][0].name
    return [dataclasses.replace(run, name=names.get(run.name, run.name)) for run in planned]


def _by_text(
    tell: Callable[[Config, Known], Config], runs: Sequence[Planned]
) -> dict[str, list[Planned]]:
    found: dict[str, list[Planned]] = {}
    for run in runs:
        told = json.dumps(tell(run.config, known(run.config)), sort_keys=True)
        found.setdefault(told, []).append(run)
    return found


def read(directory: Path) -> dict[str, Any]:
    """The directory's sweep.json. Raises UserError where there is none, or it is not one."""
    path = directory / "sweep.json"
    try:
        record = json.loads(durable.read_bytes(path))
        if not {"name", "runs", "created"} <= record.keys():
            raise ValueError("it lacks name, runs or created")
        for run in record["runs"]:
            if misfit(run, RUN) or not RUN.keys() <= run.keys():
                raise ValueError("a run lacks name, overrides or config")
    except FileNotFoundError:
        raise UserError(
            f"{directory} holds no sweep (no sweep.json); launch one there with lm-lab sweep"
        ) from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); delete it, and a launch writes it anew"
        ) from None
    return versions.read_sweep(record, path)


def planned_runs(record: Mapping[str, Any]) -> list[Planned]:
    """The runs that a sweep.json lists. Raises UserError for one that is none."""
    runs = listed_runs(record, Path("sweep.json"))
    return [Planned(run["name"], run["overrides"], run["config"]) for run in runs]


def write(
    directory: Path, study: Study, planned: Sequence[Planned], environment: Mapping[str, Any]
) -> None:
    """Write sweep.json, atomically; one that is already there keeps its creation time. Raises
    UserError as `check`.
    """
    stored = check(directory, study, planned)
    record = {
        "name": study.name,
        **_wishes(study, planned),
        "command": environment["command"],
        "environment": dict(environment),
        "created": stored["created"] if stored else datetime.now(UTC).isoformat(timespec="seconds"),
    }
    atomic_write(directory / "sweep.json", json.dumps(versions.stamped(record), indent=1) + "\n")


def is_written(directory: Path, study: Study, planned: Sequence[Planned]) -> bool:
    """Whether sweep.json says already what the study asks for. Raises UserError as `check`."""
    stored = check(directory, study, planned)
    wishes = json.loads(json.dumps(_wishes(study, planned)))
    return stored is not None and all(stored.get(key) == value for key, value in wishes.items())


def _wishes(study: Study, planned: Sequence[Planned]) -> dict[str, Any]:
    runs = [dataclasses.asdict(run) for run in planned]
    return {"question": study.question, "analysis": dict(study.analysis), "runs": runs}


def check(directory: Path, study: Study, planned: Sequence[Planned]) -> dict[str, Any] | None:
    """The directory's sweep.json, if any. UserError, naming what differs, where the study does not
    belong there.

    A study may grow: it may come back with more runs, another question, another analysis, and
    nothing stored loses its meaning. Another name, or a stored run that it no longer has, is
    another study.
    """
    if (directory / "config.json").exists():
        raise UserError(f"{directory} holds a run, not a sweep; use another --workdir")
    if not (directory / "sweep.json").exists():
        return None
    stored = read(directory)
    if stored["name"] != study.name:
        raise UserError(
            f"{directory} holds study {stored['name']!r}, not {study.name!r}; use another --workdir"
        )
    names = {run.name for run in planned}
    lost = [run for run in planned_runs(stored) if run.name not in names]
    if lost:
        now = next((run for run in planned if run.overrides == lost[0].overrides), None)
        changed = differences(lost[0].config, now.config, known(now.config)) if now else []
        difference = "".join(
            f" (config.{each.key} was {show(each.stored)}, is {show(each.asked)})"
            for each in changed[:1]
        )
        raise UserError(
            f"{directory} holds {len(lost)} runs that study {study.name!r} no longer has, first: "
            f"{describe(lost[0].overrides)}{difference}; use another --workdir, or only add points"
        )
    return stored
