"""Finished runs as arrays.

Every run that is left out is named in a caution. A diverged run stays, with an infinite loss, so
that its settings count as tried.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from lm_lab.scaling.budgets import joined_budgets
from lm_lab.scaling.records import Caution
from lm_lab.types import UserError

Array = np.ndarray
Setting = tuple[tuple[str, Any], ...]
"""What a run was set to, beyond its size, budget, rate and seed: (name, value) pairs."""
_OPTIONAL = (
    "budget_flops",
    "optimizer.peak_rate",
    "seed",
    "selection_loss",
    "runs",
    "loss_sd",
)
_LISTS = ("settings", "left_out")  # the fields of Points that are no arrays


@dataclass(frozen=True)
class Points:
    """Runs, or cells of runs, as float64 arrays [n]; `left_out` cautions of runs left out.

    params N, tokens D, flops C, loss in nats a token (inf: diverged), choice: the loss by which the
    best of several is chosen, on other text where the runs have it, budget in FLOPs (the run's
    own C if no budget was set; those that agree within budgets.TOLERANCE are one), rate and seed
    (NaN: unknown), runs: the number of seeds that the loss is the mean of, by which fits weight it,
    loss_sd: the sample s.d. of the loss over these seeds, in nats (NaN with fewer than two),
    settings: of each, those that differ between runs of one size and budget.
    """

    params: Array
    tokens: Array
    flops: Array
    loss: Array
    choice: Array
    budget: Array
    rate: Array
    seed: Array
    runs: Array
    loss_sd: Array
    settings: tuple[Setting, ...]
    left_out: tuple[Caution, ...] = ()

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The settings of each point as text, "train.batch_size=64"; "" where there are none."""
        return tuple(words(setting) for setting in self.settings)

    def where(self, chosen: Array) -> "Points":
        """The points selected by a mask or an index array."""
        arrays = {
            f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name not in _LISTS
        }
        indices = np.arange(len(self))[chosen]
        return replace(self, **arrays, settings=tuple(self.settings[i] for i in indices))

    def budgets(self) -> list[float]:
        """The distinct budgets, smallest first."""
        return [float(budget) for budget in np.unique(self.budget)]


def words(setting: Setting) -> str:
    """ "train.batch_size=64, schedule.warmup_steps=100"; "" for none."""
    return ", ".join(f"{name}={value}" for name, value in setting)


def make_points(
    params,
    tokens,
    flops,
    loss,
    *,
    choice=None,
    budget=None,
    rate=None,
    seed=None,
    settings: Mapping[str, Sequence[Any]] | None = None,
    names: Sequence[str] | None = None,
    runs=None,
    loss_sd=None,
    left_out=(),
) -> Points:
    """Makes points from sequences of n numbers; without a budget (None, NaN) a run's own FLOPs
    count.

    The best is chosen by `choice`, by default the loss itself.
    `settings` are columns of whatever else was swept, `names` those of the runs, for messages.
    Where each loss is a mean over seeds, `runs` (1 where NaN) and `loss_sd` say of how many.
    Raises UserError for a run without a size, or with neither budget nor FLOPs (it belongs to no
    cell), and for two runs that differ in nothing, not even the seed.
    """
    params, tokens, flops, loss = (
        np.asarray(values, np.float64) for values in (params, tokens, flops, loss)
    )
    blank = np.full(len(loss), np.nan)
    budget, rate, seed, runs, loss_sd = (
        blank if values is None else np.asarray(values, np.float64)
        for values in (budget, rate, seed, runs, loss_sd)
    )
    budget = np.where(np.isnan(budget), flops, budget)
    if not (np.isfinite(params).all() and np.isfinite(budget).all()):
        raise UserError(
            "points need finite params, and a finite budget or flops, each; leave out the runs "
            "that lack them"
        )
    budget, cautions = joined_budgets(budget)
    points = Points(
        params,
        tokens,
        flops,
        loss,
        _choice(choice, loss),
        budget,
        rate,
        seed,
        runs=np.where(np.isnan(runs), 1.0, runs),
        loss_sd=loss_sd,
        settings=_varying(settings or {}, budget, params),
        left_out=(*left_out, *cautions),
    )
    _check_distinct(points, names)
    return points


def _choice(choice: Sequence[float] | None, loss: Array) -> Array:
    """The losses by which the best is chosen: all on the selection text, or all the losses
    themselves.
    """
    choices = loss if choice is None else np.asarray(choice, np.float64)
    return (
        loss
        if np.isnan(choices[np.isfinite(loss)]).any()
        else np.where(loss < np.inf, choices, loss)
    )


def _varying(columns: Mapping[str, Sequence[Any]], budget: Array, params: Array) -> tuple:
    """The settings of each run that differ within some cell; what decides the size or the budget
    (as model.width) is the same throughout a cell.
    """
    cells: dict[tuple[float, float], list[int]] = {}
    for i, key in enumerate(zip(budget.tolist(), params.tolist())):
        cells.setdefault(key, []).append(i)
    varying = {
        name: values
        for name, values in columns.items()
        if any(len({repr(values[i]) for i in cell}) > 1 for cell in cells.values())
    }
    return tuple(
        tuple((name, values[i]) for name, values in varying.items()) for i in range(len(budget))
    )


def _check_distinct(points: Points, names: Sequence[str] | None) -> None:
    """Raises UserError for two runs of one cell, rate, setting and seed: they cannot be two seeds,
    so their mean would not be a mean over seeds.
    """
    first_rows: dict[tuple[str, ...], int] = {}
    for row in range(len(points)):
        numbers = (points.budget, points.params, points.rate, points.seed)
        key = (*(repr(float(array[row])) for array in numbers), repr(points.settings[row]))
        first = first_rows.setdefault(key, row)
        if first != row:
            first_name, second_name = (
                (names[first], names[row]) if names else (f"row {first + 1}", f"row {row + 1}")
            )
            raise UserError(
                f"{first_name} and {second_name} are runs of one size "
                f"({points.params[row]:.6g} parameters), budget ({points.budget[row]:.6g} FLOPs), "
                "rate, settings and seed; leave one out, "
                "or name what differs (a column 'seed', for one)"
            )


def points_from_rows(
    rows: Iterable[Mapping[str, Any]], params: str = "params", swept: Sequence[str] = ()
) -> Points:
    """Makes points from the rows of a sweep's results; `params` names the column with N, `swept`
    the columns of what the sweep varied.

    Where all have a `selection_loss`, the best is chosen by it.
    Leaves out a run that is neither complete nor diverged, or lacks loss, size or compute, with a
    caution that names it. Raises UserError for a row that lacks a column or has a number that
    cannot be read, and for two equal rows.
    """
    varied = [key for key in swept if key not in ("seed", "optimizer.peak_rate")]
    numbers, settings, names, left_out = [], [], [], []
    for row in rows:
        name, status = row.get("name", "a run"), row.get("status", "complete")
        loss = math.inf if status == "diverged" else _number(row, "loss")
        values = [_number(row, key) for key in (params, "tokens", "flops")]
        optional = [_number(row, key, needed=False) for key in _OPTIONAL]
        has_compute = math.isfinite(optional[0]) or math.isfinite(values[2])
        if (
            status in ("complete", "diverged")
            and math.isfinite(values[0])
            and has_compute
            and not math.isnan(loss)
        ):
            numbers.append([*values, loss, *optional])
            settings.append([row.get(key) for key in varied])
            names.append(str(name))
        else:
            message = f"run {name} ({status}) lacks a loss, a size or its compute"
            left_out.append(Caution("run left out", str(name), message))
    columns = np.array(numbers, np.float64).reshape(-1, 4 + len(_OPTIONAL)).T
    return make_points(
        *columns[:4],
        budget=columns[4],
        rate=columns[5],
        seed=columns[6],
        choice=columns[7],
        settings={key: [values[i] for values in settings] for i, key in enumerate(varied)},
        names=names,
        runs=columns[8],
        loss_sd=columns[9],
        left_out=left_out,
    )


def _number(row: Mapping[str, Any], key: str, needed: bool = True) -> float:
    if key not in row and needed:
        raise UserError(
            f"results row {row.get('name', '')!r} has no column {key!r}; run the sweep's "
            "collection again"
        )
    value = row.get(key)
    try:
        return math.nan if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        raise UserError(
            f"results row {row.get('name', '')!r}: {key} must be a number, not {value!r}"
        ) from None
