"""The runs of each contender, found among the rows of a sweep by the overrides that they share."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lm_lab.report.analyses.comparison.records import Settings
from lm_lab.report.stored import Row, budget, sharing
from lm_lab.runs.sweep import EVALUATED
from lm_lab.schema import suggest
from lm_lab.types import UserError

RATE = "optimizer.peak_rate"
LATER = (EVALUATED, "heldout_", "test_")  # columns that results.csv has once a run has ended
REMEDY = "set train.budget_flops, the same for all"


def check(settings: Settings, rows: Sequence[Row]) -> None:
    """Raises UserError if the planned runs could not be compared, once complete."""
    if settings.metric not in rows[0] and not settings.metric.startswith(LATER):
        raise UserError(_unmeasured(settings, rows))
    runs = {arm: planned(settings, arm, rows) for arm in settings.arms}
    of_arms = [row for own in runs.values() for row in own]
    if any(row.get("status") == "complete" for row in of_arms):
        check_metric(settings, of_arms)
    _ = settings.scale  # raises for a direction that is missing
    absent = [arm for arm in settings.arms if not runs[arm]]
    if absent:
        raise UserError(f"no run is one of {', '.join(absent)}; mend analysis.arms")
    places = {(arm, _compute(row)) for arm in runs for row in runs[arm]}
    if len(places) == len({compute for _, compute in places}):
        raise UserError(f"no two contenders are sure to have runs of one budget; {REMEDY}")


def check_metric(settings: Settings, rows: Sequence[Row]) -> None:
    """Raises UserError if no complete run has the metric, if one has something else than a number,
    or a number of which ratios mean nothing.
    """
    complete = [row for row in rows if row.get("status") == "complete"]
    found = {
        str(r["name"]): r[settings.metric] for r in complete if r.get(settings.metric) is not None
    }
    if not found:
        raise UserError(_unmeasured(settings, rows))
    for name, value in found.items():
        if not isinstance(value, int | float) or math.isnan(value):
            raise UserError(
                f"analysis.metric {settings.metric!r} is {value} in run {name}; name a number"
            )
        if settings.scale.is_ratio and value <= 0:
            raise UserError(
                f"analysis.metric {settings.metric!r} is {value} in run {name}, and is compared by "
                "ratios; name another"
            )


def _unmeasured(settings: Settings, rows: Sequence[Row]) -> str:
    columns = [key for key in rows[0] if key.endswith("bits_per_byte") or key.startswith(LATER)]
    near = suggest(settings.metric, columns)
    return f"analysis.metric {settings.metric!r} is measured by no run; {near}"


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
    """The runs of a contender that are complete, with the `height` (scale.py) of their metric, or
    that diverged, with an infinite one.

    `selection` is the height for choosing settings: the metric on other text, if the sweep has it.
    """
    apart, scale = text_apart(settings, rows), settings.scale
    made = []
    for row in planned(settings, arm, rows):
        value, by = row.get(settings.metric), row.get(settings.selection_metric)
        if row.get("status") == "diverged" and row.get("params") is not None:
            made.append({**row, "height": math.inf, "selection": math.inf})
        elif row.get("status") == "complete" and value is not None:
            heights = scale.heights(np.array([value, by if apart else value], np.float64))
            made.append({**row, "height": float(heights[0]), "selection": float(heights[1])})
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
