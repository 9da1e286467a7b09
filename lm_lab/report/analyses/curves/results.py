"""A metric against one setting, for each arm: means over seeds with their intervals."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from lm_lab.report.stored import Row, sharing
from lm_lab.scaling.records import Estimate
from lm_lab.schema import setting, suggest
from lm_lab.types import UserError


@dataclass(frozen=True)
class Settings:
    """The keys of a study's "analysis", other than its kind. Raises UserError for no arms."""

    metric: str = setting("the column of results.csv to compare, such as eval/heldout/accuracy")
    against: str = setting("the config key that grows, such as data.train_documents")
    arms: dict = setting("what is compared: name -> the overrides that all its runs share")
    better: Literal["higher", "lower"] = setting("which values of the metric are good", "higher")
    items: int | None = setting(
        "held-out items that the metric is a share of, whose choice is part of the noise",
        None,
        low=1,
    )
    known: dict | None = setting("values to compare with, by name: published ones, floors", None)
    level: float = setting("probability of the intervals", 0.9, low=0.5, high=0.999)

    def __post_init__(self) -> None:
        if not self.arms or not all(
            isinstance(overrides, Mapping) for overrides in self.arms.values()
        ):
            raise UserError(
                'arms must name what is compared, each with its overrides: {"name": {"key": value}}'
            )


@dataclass(frozen=True)
class Point:
    """An arm at a value of the setting: the mean over seeds, at the best of the other swept
    settings.
    """

    arm: str
    at: float
    value: Estimate
    seeds: int
    settings: str  # the best of the other swept settings, as "key=value, ..."; "" if there are none
    runs: tuple[str, ...]  # names, a seed each


@dataclass(frozen=True)
class Results:
    """All points, and the noise by which arms are told apart."""

    settings: Settings
    points: tuple[Point, ...]  # by `at`, the best first
    deviations: tuple[tuple[float, float, int], ...]  # (at, s.d. of a seed, degrees of freedom)
    # (arm, values of the setting at which the study has runs of it, none of which has the metric)
    absent: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def at(self, value: float) -> list[Point]:
        """The points at a value of the setting, the best first."""
        return [point for point in self.points if point.at == value]

    @property
    def values(self) -> list[float]:
        """The values of the setting, ascending."""
        return sorted({point.at for point in self.points})

    def told(self, first: Point, second: Point) -> bool | None:
        """Whether two arms at one value differ by more than seeds explain; None without seeds.

        Both have the same held-out items, so the sampling of items does not count here.
        """
        deviation_at = next(
            ((sd, degrees) for at, sd, degrees in self.deviations if at == first.at), None
        )
        if deviation_at is None:
            return None
        deviation, freedom = deviation_at
        error = deviation * math.sqrt(1 / first.seeds + 1 / second.seeds)
        return (
            abs(first.value.value - second.value.value) > _quantile(self.settings, freedom) * error
        )


def check(settings: Settings, rows: Sequence[Row]) -> None:
    """Raises UserError if the planned runs have no such setting, or an arm has no run."""
    if settings.against not in rows[0]:
        raise UserError(
            f"analysis.against {settings.against!r} is varied by no run; "
            f"{suggest(settings.against, [key for key in rows[0] if '.' in key])}"
        )
    for name, shared in settings.arms.items():
        runs_of_arm = sharing(shared, rows)
        if not runs_of_arm:
            raise UserError(f"no run is one of {name}; mend analysis.arms")
        if any(not isinstance(row[settings.against], int | float) for row in runs_of_arm):
            raise UserError(
                f"analysis.against: {settings.against} is no number in all runs of {name}; give one"
            )


def analyse(rows: Sequence[Row], settings: Settings) -> Results:
    """The points of all arms. Raises UserError for a metric that no complete run has."""
    complete = [row for row in rows if row.get("status") == "complete"]
    measured = [row for row in complete if isinstance(row.get(settings.metric), int | float)]
    if not measured:
        columns = sorted({key for row in complete for key in row if "." not in key})
        raise UserError(
            f"analysis.metric {settings.metric!r} is measured by no complete run; "
            f"{suggest(settings.metric, columns)}"
        )
    cells = [
        (arm, at, varied_settings, runs)
        for arm, shared in settings.arms.items()
        for (at, varied_settings), runs in _cells(sharing(shared, measured), settings).items()
    ]
    noise = _noise([(at, runs) for _, at, _, runs in cells], settings.metric)
    points = [
        Point(
            arm,
            at,
            _estimate(np.array([row[settings.metric] for row in runs]), noise.get(at), settings),
            len(runs),
            varied_settings,
            tuple(str(row["name"]) for row in runs),
        )
        for arm, at, varied_settings, runs in cells
    ]
    best = _best(points, settings)
    deviations = tuple((at, *deviation) for at, deviation in sorted(noise.items()))
    return Results(settings, tuple(best), deviations, _absent(rows, points, settings))


def _absent(
    rows: Sequence[Row], points: Sequence[Point], settings: Settings
) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """The arms with the values of the setting at which they have runs but no point."""
    shown, absent = {(point.arm, point.at) for point in points}, []
    for arm, shared in settings.arms.items():
        planned = {float(row[settings.against]) for row in sharing(shared, rows)}
        if missing := tuple(sorted(at for at in planned if (arm, at) not in shown)):
            absent.append((arm, missing))
    return tuple(absent)


def _cells(runs: Sequence[Row], settings: Settings) -> dict[tuple[float, str], list[Row]]:
    """The runs of an arm by the setting, and by all other swept settings but the seed."""
    cells: dict[tuple[float, str], list[Row]] = {}
    for row in runs:
        at = row[settings.against]
        at_same_value = [run for run in runs if run[settings.against] == at]
        varied = [
            key
            for key in row
            if "." in key and len({json.dumps(run.get(key)) for run in at_same_value}) > 1
        ]
        varied_settings = ", ".join(f"{key}={row[key]}" for key in varied)
        cells.setdefault((float(at), varied_settings), []).append(row)
    return cells


def _noise(
    cells: Sequence[tuple[float, Sequence[Row]]], metric: str
) -> dict[float, tuple[float, int]]:
    """(s.d. of a run among seeds, degrees of freedom) at each value of the setting, pooled over
    arms; absent where every cell has one seed.
    """
    noise = {}
    for at in {at for at, _ in cells}:
        values = [np.array([row[metric] for row in runs]) for other, runs in cells if other == at]
        freedom = sum(len(losses) - 1 for losses in values)
        if freedom:
            squares = sum(float(((losses - losses.mean()) ** 2).sum()) for losses in values)
            noise[at] = (math.sqrt(squares / freedom), freedom)
    return noise


def _estimate(values: np.ndarray, noise: tuple[float, int] | None, settings: Settings) -> Estimate:
    """The mean with an interval that includes the noise of seeds and of the sampling of items."""
    mean = float(values.mean())
    variance, quantile = 0.0, float(stats.norm.ppf((1 + settings.level) / 2))
    if noise is not None:
        deviation, freedom = noise
        variance, quantile = deviation**2 / len(values), _quantile(settings, freedom)
    if settings.items is not None:
        variance += max(mean * (1 - mean), 0.0) / settings.items
    if noise is None and settings.items is None:
        return Estimate(mean)
    half = quantile * math.sqrt(variance)
    return Estimate(mean, mean - half, mean + half)


def _quantile(settings: Settings, freedom: int) -> float:
    return float(stats.t.ppf((1 + settings.level) / 2, freedom))


def _best(points: Sequence[Point], settings: Settings) -> list[Point]:
    """The best cell of each arm at each value, ordered by value, and the best arm first."""
    sign = -1 if settings.better == "higher" else 1
    ordered = sorted(points, key=lambda point: (point.at, sign * point.value.value))
    best_points: dict[tuple[str, float], Point] = {}
    for point in ordered:
        best_points.setdefault((point.arm, point.at), point)
    return list(best_points.values())
