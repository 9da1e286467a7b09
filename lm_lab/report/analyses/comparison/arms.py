"""The runs of each contender, found among the rows of a sweep by the overrides that they share."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lm_lab.report.analyses.comparison.records import Settings
from lm_lab.report.stored import Row, budget, sharing
from lm_lab.schema import suggest
from lm_lab.types import UserError

RATE = "optimizer.peak_rate"
REMEDY = "set train.budget_flops, the same for all"


def check(settings: Settings, rows: Sequence[Row]) -> None:
    """Raises UserError if the planned runs could not be compared, once complete."""
    columns = [name for name in rows[0] if name.endswith("bits_per_byte")]
    if settings.metric not in columns:
        raise UserError(
            f"analysis.metric {settings.metric!r} is measured by no run; "
            f"{suggest(settings.metric, columns)}"
        )
    runs = {arm: planned(settings, arm, rows) for arm in settings.arms}
    absent = [arm for arm in settings.arms if not runs[arm]]
    if absent:
        raise UserError(f"no run is one of {', '.join(absent)}; mend analysis.arms")
    places = {(arm, _compute(row)) for arm in runs for row in runs[arm]}
    if len(places) == len({compute for _, compute in places}):
        raise UserError(f"no two contenders are sure to have runs of one budget; {REMEDY}")


def _compute(row: Row) -> Any:
    """What decides a run's compute, as known before it begins: its budget, or else all settings
    that count.
    """
    keys = [
        key
        for key in row
        if key.partition(".")[0] in ("model", "objective", "adapter", "data", "train")
    ]
    return budget(row) or json.dumps([row[key] for key in keys if "." in key])


def ended(settings: Settings, arm: str, rows: Sequence[Row]) -> list[Row]:
    """The runs of a contender that are complete, with the metric's column as their bits per byte,
    or that diverged, with infinite ones.

    `selection` is the value for choosing settings: the metric on other text, if the sweep has it.
    """
    apart = text_apart(settings, rows)
    made = []
    for row in planned(settings, arm, rows):
        bits, by = row.get(settings.metric), row.get(settings.selection_metric)
        if row.get("status") == "diverged" and row.get("params") is not None:
            made.append({**row, "bits_per_byte": math.inf, "selection": math.inf})
        elif row.get("status") == "complete" and bits is not None:
            made.append({**row, "bits_per_byte": bits, "selection": by if apart else bits})
    return made


def text_apart(settings: Settings, rows: Sequence[Row]) -> bool:
    """Whether every complete run was also evaluated on other text, for choosing settings."""
    complete = [row for row in rows if row.get("status") == "complete"]
    return all(row.get(settings.selection_metric) is not None for row in complete)


def planned(settings: Settings, arm: str, rows: Sequence[Row]) -> list[Row]:
    """All runs of a contender."""
    return sharing(settings.arms[arm], rows)


def places(runs: Mapping[str, Sequence[Row]]) -> list[tuple[str, float]]:
    """Every contender with the budgets at which it has a complete run."""
    return [
        (arm, compute)
        for arm, own in runs.items()
        for compute in sorted({budget(row) for row in own if math.isfinite(row["selection"])})
    ]
