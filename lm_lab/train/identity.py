"""Which run a directory holds, and whether the run that is asked for may go on there.

config.json holds the resolved config and, as "identity", the name that the run was given at its
birth; every checkpoint repeats it. A later release, another mesh or more steps change the config
and not the identity.

    changes.jsonl   a line for each launch with a changed config: step, and [before, after] by key
"""

import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from lm_lab.runs.commits import committed, read_record
from lm_lab.runs.config import hash_of, read_config_file, write_config
from lm_lab.runs.durable import atomic_write, explained
from lm_lab.runs.reading import Unreadable
from lm_lab.runs.sealed import Damaged
from lm_lab.train.counters import fault_of, place_of
from lm_lab.train.sections import (
    ABSENT,
    END,
    Difference,
    Values,
    decides,
    differences,
    key_table,
    spec,
)
from lm_lab.types import UserError

FILLED_IN = ("model.length", "model.vocab")  # from the settings of data, where they are None
OTHER = "restore it from a copy, or choose another directory"


class Claim(NamedTuple):
    """What a directory is to a run that claims it: the run's identity, and where its config.json
    differs.
    """

    identity: str
    changes: tuple[Difference, ...] = ()
    other_files: bool = False  # text is now read from another path
    damaged: str = ""  # what is wrong with its config.json, if it cannot be read

    @property
    def moves_end(self) -> bool:
        """Whether the config now asks for another end than the run began with."""
        return any(change.key in END for change in self.changes)


def name_of(resolved: Values) -> str:
    """The name of a run: 12 hex digits of the SHA-256 of what its config
    says beyond the defaults.
    """
    return hash_of(spec(resolved, key_table(resolved)))


def _refuse_alone(directory: Path) -> None:
    """Raises UserError where a model was written without a run, which cannot go on."""
    for folder in committed(directory / "checkpoints"):
        with contextlib.suppress(Damaged):
            if not read_record(folder, verified=False).spec_hash:
                raise UserError(
                    f"{directory} holds a model that convert or merge wrote, and no state of "
                    "training; train in another directory, with "
                    f"--config.train.initial={directory}"
                )


def claim(directory: Path, resolved: Values) -> Claim:
    """The run's claim to the directory. Raises UserError where it holds another run: its
    config.json differs in a key that decides the result. Other keys may change. Whether the end may
    move depends on the schedule, and train/writer.py decides it.
    """
    _refuse_alone(directory)
    path = directory / "config.json"
    if not path.exists():
        missing = Unreadable(path, "it is missing", OTHER)
        return Claim(_name_by_checkpoints(directory, resolved, missing))
    try:
        identity, stored = read_config_file(path, OTHER)
    except Unreadable as damaged:
        return Claim(_name_by_checkpoints(directory, resolved, damaged), damaged=damaged.why)
    table = key_table(resolved)
    changes = differences(stored, json.loads(json.dumps(resolved)), table)
    # what is filled in follows from a setting that differs, too, if one does
    for change in sorted(changes, key=lambda change: change.key in FILLED_IN):
        if decides(change.key, table) and change.key not in (*table.files, *END):
            if change.key == "train.microbatches" and change.asked == _chosen(directory, change):
                continue
            raise UserError(
                f"{directory} holds another run: config.{change.key} is {show(change.stored)} "
                "there and "
                f"{show(change.asked)} here; give the same, or choose another directory"
            )
    return Claim(identity, tuple(changes), any(change.key in table.files for change in changes))


def _chosen(directory: Path, change: Difference) -> int | None:
    """The number of microbatches that a run was trained with, if it left the number open."""
    folder = next(iter(committed(directory / "checkpoints")), None)
    if change.stored is not None or folder is None:
        return None
    with contextlib.suppress(Damaged):
        record = read_record(folder, verified=False)
        if not fault_of(record.extra):
            chosen = place_of(record.step, record.extra).accumulation
            return None if chosen is None else chosen.microbatches
    return None


def _name_by_checkpoints(directory: Path, resolved: Values, fault: Unreadable) -> str:
    """The name of the run in a directory that has no config.json, or a damaged one, but checkpoints
    of this run; or no checkpoints and no result. Raises UserError for another.
    """
    names = set()
    for folder in committed(directory / "checkpoints"):
        with contextlib.suppress(Damaged):  # a damaged checkpoint does not say whose it is
            names.add(read_record(folder, verified=False).spec_hash)
    empty = not names and not (directory / "result.json").exists()
    for name in (
        name_of(resolved),
        hash_of(resolved),
    ):  # the second by releases that hashed the complete config
        if names == {name} or empty:
            return name
    raise UserError(
        f"{fault.path}: {fault.why}, and no checkpoint proves that the run is this one; give "
        "the settings that it "
        f"began with, {OTHER}"
    )


def write(
    directory: Path,
    resolved: Values,
    claimed: Claim,
    step: int = 0,
    ended: Mapping[str, Any] | None = None,
) -> None:
    """Writes config.json where there is none, or where it differs; then changes.jsonl gets a line:
    the change takes effect at `step`; `ended`, the result of the run with its former number of
    steps, is stored in that line.
    """
    if claimed.changes:
        line: dict[str, Any] = {
            "step": step,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        line["changes"] = {
            change.key: [_plain(change.stored), _plain(change.asked)] for change in claimed.changes
        }
        _append(directory / "changes.jsonl", line | ({"result": dict(ended)} if ended else {}))
        if ended:
            with explained(directory, "write there"):
                (directory / "result.json").unlink(missing_ok=True)
    if claimed.changes or not (directory / "config.json").exists():
        write_config(directory, resolved, claimed.identity)


def show(value: Any) -> str:
    """A value of a config as error lines show it."""
    return "absent" if value is ABSENT else json.dumps(value)


def _plain(value: Any) -> Any:
    return None if value is ABSENT else value


def _append(path: Path, line: Mapping[str, Any]) -> None:
    with explained(path, "write"):
        lines = path.read_text("utf-8") if path.exists() else ""
    atomic_write(path, f"{lines}{json.dumps(line)}\n")
