"""The results of a comparison: each contender's best at each budget, with the noise of seeds."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from lm_lab.report.stored import Row, budget
from lm_lab.scaling.records import Estimate
from lm_lab.schema import setting, suggest
from lm_lab.types import UserError
from lm_lab.values import table_value

RATE = "optimizer.peak_rate"
FARTHEST = 1e4  # shares of compute above it, or below its inverse, are not reported
REMEDY = "set train.budget_flops, the same for all"


@dataclass(frozen=True)
class Settings:
    """The keys of a study's "analysis", other than its kind.

    Raises UserError for fewer than two contenders.
    """

    arms: dict = setting("contenders: name -> the overrides that all its runs share")
    reference: str = setting("the contender with whose compute the others' is compared")
    metric: str = setting("the column of results.csv to compare, in bits per byte", "bits_per_byte")
    level: float = setting("probability of the intervals", 0.9, low=0.5, high=0.999)
    draws: int = setting(
        "simulations of seed noise for the intervals of compute shares", 2000, low=100
    )

    def __post_init__(self) -> None:
        if len(self.arms) < 2 or not all(
            isinstance(shared, Mapping) for shared in self.arms.values()
        ):
            raise UserError(
                'arms must name two contenders or more, each with its overrides: {"name": {"key": '
                "value}}"
            )
        if self.reference not in self.arms:
            raise UserError(
                f"reference {self.reference!r} is none of the arms: {', '.join(self.arms)}"
            )


@dataclass(frozen=True)
class Cell:
    """A contender's best size at its best peak rate at one budget; values are means over seeds."""

    arm: str
    budget: float  # FLOPs
    params: float  # of matrix products, head included
    params_total: float
    rate: float
    rates: int
    rate_at_edge: bool  # the best of several rates is the lowest or the highest tried
    size_at_edge: bool  # the best of several sizes is the smallest or the largest tried
    sizes: int
    seeds: int
    tokens: float
    flops: float
    seconds: float  # of training
    compile_seconds: float | None  # not part of `seconds`; None: `seconds` includes compiling
    bits_per_byte: Estimate


@dataclass(frozen=True)
class Multiplier:
    """The reference's compute for a contender's loss, as a share of the contender's compute."""

    arm: str
    budget: float
    share: Estimate
    extrapolated: bool  # outside the budgets at which the reference was run


@dataclass(frozen=True)
class Results:
    """The results that analysis.json stores."""

    settings: Settings
    cells: tuple[Cell, ...]
    multipliers: tuple[Multiplier, ...]
    noise: (
        float | None
    )  # standard deviation over seeds, relative to bits per byte; None: no cell has two seeds
    degrees: int  # degrees of freedom of the noise
    missing: tuple[str, ...]  # contenders without a complete run at some budget

    def at(self, budget: float) -> list[Cell]:
        """The contenders at a budget, best first."""
        return sorted(
            (c for c in self.cells if c.budget == budget), key=lambda c: c.bits_per_byte.value
        )

    @property
    def budgets(self) -> list[float]:
        """All budgets, ascending."""
        return sorted({cell.budget for cell in self.cells})


def analyse(rows: Sequence[Row], settings: Settings) -> Results:
    """Compares the contenders of a sweep.

    Raises UserError if a contender has no complete run, or if no budget has two contenders.
    """
    runs = {arm: of(settings, arm, rows) for arm in settings.arms}
    absent = [arm for arm in settings.arms if not runs[arm]]
    if absent:
        raise UserError(
            f"no complete run of {', '.join(absent)}; finish the sweep, or mend analysis.arms"
        )
    noise, degrees = _noise([_tuned(runs[arm], compute) for arm, compute in _places(runs)])
    cells = [
        _cell(arm, compute, runs[arm], noise, degrees, settings.level)
        for arm, compute in _places(runs)
    ]
    budgets = {cell.budget for cell in cells}
    if len(cells) == len(budgets):
        raise UserError(f"no two contenders have complete runs of one budget; {REMEDY}")
    missing = tuple(
        arm for arm in settings.arms if {c.budget for c in cells if c.arm == arm} != budgets
    )
    return Results(
        settings, tuple(cells), tuple(_multipliers(cells, settings, noise)), noise, degrees, missing
    )


def check(settings: Settings, rows: Sequence[Row]) -> None:
    """Raises UserError if the planned runs could not be compared, once complete."""
    columns = [name for name in rows[0] if name.endswith("bits_per_byte")]
    if settings.metric not in columns:
        raise UserError(
            f"analysis.metric {settings.metric!r} is measured by no run; "
            f"{suggest(settings.metric, columns)}"
        )
    runs = {arm: _planned(settings, arm, rows) for arm in settings.arms}
    absent = [arm for arm in settings.arms if not runs[arm]]
    if absent:
        raise UserError(f"no run is one of {', '.join(absent)}; mend analysis.arms")
    places = {(arm, _compute(row)) for arm in runs for row in runs[arm]}
    if len(places) == len({compute for _, compute in places}):
        raise UserError(f"no two contenders are sure to have runs of one budget; {REMEDY}")


def _compute(row: Row) -> Any:
    """A run's compute as known before it begins: its budget, else all settings that decide it."""
    keys = [
        key
        for key in row
        if key.partition(".")[0] in ("model", "objective", "adapter", "data", "train")
    ]
    return budget(row) or json.dumps([row[key] for key in keys if "." in key])


def of(settings: Settings, arm: str, rows: Sequence[Row]) -> list[Row]:
    """The complete runs of a contender, with the metric's column as their bits per byte."""
    own = [row for row in _planned(settings, arm, rows) if row.get("status") == "complete"]
    return [
        {**row, "bits_per_byte": row[settings.metric]}
        for row in own
        if row.get(settings.metric) is not None
    ]


def _planned(settings: Settings, arm: str, rows: Sequence[Row]) -> list[Row]:
    """All runs of a contender."""
    shared = settings.arms[arm]
    return [
        row
        for row in rows
        if all(row.get(key) == table_value(value) for key, value in shared.items())
    ]


def _places(runs: Mapping[str, Sequence[Row]]) -> list[tuple[str, float]]:
    return [
        (arm, compute) for arm in runs for compute in sorted({budget(row) for row in runs[arm]})
    ]


def _seeds(rows: Sequence[Row]) -> dict[tuple[float, float], list[Row]]:
    """Groups runs that differ only in their seed, by (parameters, peak rate)."""
    found: dict[tuple[float, float], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["params"], row[RATE]].append(row)
    return found


def _tuned(rows: Sequence[Row], compute: float) -> list[Row]:
    """The runs of a contender's best size and peak rate at a budget, by the mean over seeds."""
    cells = _seeds([row for row in rows if budget(row) == compute])
    return min(
        cells.values(), key=lambda same: float(np.mean([row["bits_per_byte"] for row in same]))
    )


def _noise(tuned: Sequence[Sequence[Row]]) -> tuple[float | None, int]:
    """(standard deviation of log bits per byte over seeds, degrees of freedom), pooled over cells.

    Only the best cells count: a rate near divergence scatters more than what is compared.
    """
    squares, degrees = 0.0, 0
    for same in tuned:
        logs = np.log([row["bits_per_byte"] for row in same])
        squares += float(((logs - logs.mean()) ** 2).sum())
        degrees += len(same) - 1
    return (math.sqrt(squares / degrees), degrees) if degrees else (None, 0)


def _cell(
    arm: str, compute: float, rows: Sequence[Row], noise: float | None, degrees: int, level: float
) -> Cell:
    cells, best = _seeds([row for row in rows if budget(row) == compute]), _tuned(rows, compute)
    params, rate = best[0]["params"], best[0][RATE]
    value = float(np.mean([row["bits_per_byte"] for row in best]))
    rates = sorted(other for size, other in cells if size == params)
    sizes = sorted({size for size, _ in cells})
    half = (
        None
        if noise is None
        else float(stats.t.ppf((1 + level) / 2, degrees)) * noise / math.sqrt(len(best))
    )
    interval = (None, None) if half is None else (value * math.exp(-half), value * math.exp(half))
    mean = {
        name: float(np.mean([row[name] for row in best]))
        for name in ("params_total", "tokens", "flops", "seconds")
    }
    compiling = [row.get("compile_seconds") for row in best]
    known = [seconds for seconds in compiling if seconds is not None]
    return Cell(
        arm=arm,
        budget=compute,
        params=params,
        rate=rate,
        rates=len(rates),
        rate_at_edge=len(rates) > 1 and rate in (rates[0], rates[-1]),
        size_at_edge=len(sizes) > 1 and params in (sizes[0], sizes[-1]),
        sizes=len(sizes),
        seeds=len(best),
        compile_seconds=float(np.mean(known)) if len(known) == len(best) else None,
        bits_per_byte=Estimate(value, *interval),
        **mean,
    )


def _multipliers(
    cells: Sequence[Cell], settings: Settings, noise: float | None
) -> list[Multiplier]:
    """The multiplier of every cell of the other contenders, where it exists.

    Its interval comes from simulated seed noise on that cell and on the reference's cells, if
    nearly all simulations have a multiplier.
    """
    line = sorted((c for c in cells if c.arm == settings.reference), key=lambda c: c.flops)
    if len(line) < 2:
        return []
    x = np.log([cell.flops for cell in line])
    y = np.log([cell.bits_per_byte.value for cell in line])
    errors = [0.0 if noise is None else noise / math.sqrt(cell.seeds) for cell in line]
    random = np.random.default_rng(0)
    moved = y + random.normal(size=(settings.draws, len(line))) * errors
    tail = 100 * (1 - settings.level) / 2
    made = []
    for cell in cells:
        if cell.arm == settings.reference:
            continue
        own = math.log(cell.bits_per_byte.value)
        share = _share(x, y, own, cell.flops)
        if share is None:
            continue
        low, high = None, None
        if noise is not None:
            owns = own + noise / math.sqrt(cell.seeds) * random.normal(size=settings.draws)
            shares = [_share(x, ys, one, cell.flops) for ys, one in zip(moved, owns)]
            known = [one for one in shares if one is not None]
            if len(known) > (1 - tail / 100) * settings.draws:
                low, high = map(float, np.percentile(known, [tail, 100 - tail]))
        extrapolated = not y.min() <= own <= y.max()
        made.append(Multiplier(cell.arm, cell.budget, Estimate(share, low, high), extrapolated))
    return made


def _share(x: np.ndarray, y: np.ndarray, height: float, flops: float) -> float | None:
    """Where the polyline through (x, y), over log FLOPs, has the height, as a share of `flops`.

    Beyond its ends the polyline continues straight. None if it does not fall at every step, or if
    the share would be FARTHEST or more (or its inverse): a loss that compute hardly lowers cannot
    be reached by compute.
    """
    if (np.diff(y) >= 0).any():
        return None
    place = int(np.clip(np.searchsorted(-y, -height) - 1, 0, len(y) - 2))
    slope: Any = (y[place + 1] - y[place]) / (x[place + 1] - x[place])
    found = float(x[place] + (height - y[place]) / slope) - math.log(flops)
    return math.exp(found) if abs(found) < math.log(FARTHEST) else None
