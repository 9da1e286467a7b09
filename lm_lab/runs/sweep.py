"""A sweep directory: a study, its runs, and a table of their results.

sweep.json     the study, for every run its name, overrides and complete config, and what was
               predicted of held-out runs before they began
results.csv    a row for every run
runs/<name>/   the directory of a run
"""

import csv
import dataclasses
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lm_lab.runs import forecasts, versions
from lm_lab.runs.durable import atomic_write
from lm_lab.runs.forecasts import Registered
from lm_lab.runs.reading import Unreadable, misfit, read_object
from lm_lab.schema import chosen_name
from lm_lab.types import UserError

Row = dict[str, Any]

MEASURED = (
    "name",
    "status",
    "message",
    "budget_flops",
    "params",
    "params_body",
    "params_total",
    "tokens",
    "flops",
    "paid_flops",
    "train.branch_from",
    "train.branch_step",
    "train.keep_steps",
    "loss",
    "selection_loss",
    "test_loss",
    "bits_per_byte",
    "state_bytes",
    "seconds",
    "compile_seconds",
    "runs",
    "loss_sd",
)
"""The columns of a results table that tell of a run (as where a branch begins), and so are no
settings that a sweep varied; NAME_bits_per_byte of other objectives and flops_NAME of other
conventions are too, and heldout_LABEL_loss and test_LABEL_loss of the sources of a mixture.
"""
EVALUATED = "eval/"
"""With which the columns begin that are metrics, by their names in metrics.jsonl."""
_MEASURED_BY_NAME = re.compile(f"^flops_|_bits_per_byte$|^(heldout|test)_.*loss$|^{EVALUATED}")

_RESTORE = "restore the file from a copy"
_LAUNCH = "launch lm-lab sweep again to write it anew"


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run of a sweep: its name (the hash of its config when it was first planned), the settings
    that it overrides, by dotted key, and its complete config.
    """

    name: str
    overrides: dict[str, Any]
    config: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """The content of a sweep.json, in its order."""

    name: str  # of the study
    question: str = ""
    analysis: dict[str, Any] = dataclasses.field(default_factory=dict)
    runs: list[Planned]
    command: str = ""  # the command line that launched it
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)
    created: str  # date and time in ISO 8601
    forecasts: list[Registered] = dataclasses.field(default_factory=list)  # oldest first
    former: list[Planned] = dataclasses.field(default_factory=list)  # the study has them no more
    proposed: list[list[dict[str, Any]]] = dataclasses.field(default_factory=list)
    """The points that a search has proposed, by round."""

    @property
    def loss_unit(self) -> Literal["byte", "token"]:
        """What a loss is in nats of: a "byte" if every run's tokenizer gives bytes."""
        sections = [run.config.get("data", {}) for run in self.runs]
        names = {chosen_name(data.get("tokenizer"), "name", None) for data in sections}
        return "byte" if names == {"byte"} else "token"


TYPES: dict[str, type] = {
    "name": str,
    "question": str,
    "analysis": dict,
    "runs": list,
    "command": str,
    "environment": dict,
    "created": str,
    "forecasts": list,
    "former": list,
    "proposed": list,
}


def run_directory(directory: Path, name: str) -> Path:
    """Where a sweep keeps the run of that name."""
    return directory / "runs" / name


def sweeps_below(path: Path) -> list[Path]:
    """The sweep directories at or right below a path: a sweep, or a folder of sweeps."""
    if (path / "sweep.json").is_file():
        return [path]
    return sorted(file.parent for file in path.glob("*/sweep.json"))


def read_sweep(directory: Path) -> SweepRecord:
    """The sweep.json of a directory. Raises UserError where there is none, or it is damaged."""
    path = directory / "sweep.json"
    if not path.exists():
        raise UserError(
            f"{directory}: no sweep.json here; name the directory of a sweep, or launch one there "
            "with lm-lab sweep"
        )
    content = read_object(path, _RESTORE)
    absent = [name for name in ("name", "runs", "created") if name not in content]
    if fault := misfit(content, TYPES) or (absent and f"{absent[0]} is absent"):
        raise Unreadable(path, f"not a sweep ({fault})", _RESTORE)
    for number, run in enumerate([*content["runs"], *content.get("former", ())], 1):
        _check_run(path, number, run)
    content = versions.read_sweep(content, path)
    fields = {name: content[name] for name in TYPES if name in content}
    runs, former = (_planned(content.get(name, ())) for name in ("runs", "former"))
    registered = [_read_forecast(path, values) for values in content.get("forecasts", ())]
    return SweepRecord(**{**fields, "runs": runs, "forecasts": registered, "former": former})


def write_sweep(directory: Path, sweep: SweepRecord) -> None:
    """Writes sweep.json atomically. Raises UserError."""
    content = versions.stamped(dataclasses.asdict(sweep))
    atomic_write(directory / "sweep.json", json.dumps(content, indent=1) + "\n")


def _planned(runs: Iterable[Mapping[str, Any]]) -> list[Planned]:
    keys = [field.name for field in dataclasses.fields(Planned)]
    return [Planned(*(run[key] for key in keys)) for run in runs]


def _read_forecast(path: Path, values: Any) -> Registered:
    registered = forecasts.read(values)
    if isinstance(registered, str):
        raise Unreadable(path, f"not a registered forecast ({registered})", _RESTORE)
    return registered


def _check_run(path: Path, number: int, run: Any) -> None:
    """Raises UserError for what is no run. A name must be that of a folder in runs/, and lead
    nowhere else.
    """
    fields = run if isinstance(run, dict) else {}
    name, overrides, config = (fields.get(key) for key in ("name", "overrides", "config"))
    is_plain = isinstance(name, str) and re.fullmatch(r"[\w-]+", name)
    if not is_plain or not isinstance(overrides, dict) or not isinstance(config, dict):
        raise Unreadable(path, f"run {number} ({str(name)[:80]!r}) is none", _RESTORE)


def swept(rows: Sequence[Row]) -> list[str]:
    """The columns of a results table that are settings: what was varied, and the peak rate."""
    columns = dict.fromkeys(key for row in rows for key in row)
    return [key for key in columns if key not in MEASURED and not _MEASURED_BY_NAME.search(key)]


def write_table(directory: Path, rows: Sequence[Row]) -> None:
    """Writes results.csv atomically: floats by repr, None as nothing. Raises UserError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(directory / "results.csv", text.getvalue())


def read_table(directory: Path, overrides: Collection[str] = ()) -> list[Row]:
    """The rows of results.csv: numbers as numbers, empty cells as None.

    Columns that are none of the sweep's `overrides` are called as in this version: a release of
    version 1 may have written the table. Raises UserError for a table that is absent, cut short,
    or none.
    """
    path = directory / "results.csv"
    if not path.is_file():
        raise UserError(f"{directory}: no results.csv here; finish it with lm-lab sweep")
    try:
        lines = path.read_text(encoding="utf-8")
        rows = [
            {
                key if key in overrides else versions.new_key(key): _value(key, cell)
                for key, cell in row.items()
            }
            for row in csv.DictReader(lines.splitlines(True))
        ]
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: not a table ({error}); {_LAUNCH}") from None
    if not all(row.get("name") for row in rows):
        raise UserError(f"{path}: a row has no name; {_LAUNCH}")
    if not lines.endswith("\n"):
        raise UserError(f"{path}: cut short; {_LAUNCH}")
    return rows


def _value(key: str, cell: Any) -> Any:
    """A cell as the value that was written. Names stay text: all of their hex digits may be decimal
    ones.
    """
    if key in ("name", "status", "message") or not isinstance(cell, str):
        return cell
    if cell in ("", "None"):
        return None
    if cell in ("True", "False"):
        return cell == "True"
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell
