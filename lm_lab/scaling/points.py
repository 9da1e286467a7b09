"""Finished runs as arrays, and the best of each (N, D) cell over learning rates.

Every run that is left out is named in a caution. A diverged run stays, with an infinite loss, so
that its rate counts as tried.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from lm_lab.scaling.records import Caution
from lm_lab.types import UserError

Array = np.ndarray


@dataclass(frozen=True)
class Points:
    """Runs, or cells of runs, as float64 arrays [n]; `left_out` cautions of runs left out.

    params N, tokens D, flops C, loss in nats a token (inf: diverged), budget in FLOPs (the run's
    own C if no budget was set), rate and seed (NaN: unknown), runs: the number of seeds that the
    loss is the mean of.
    """

    params: Array
    tokens: Array
    flops: Array
    loss: Array
    budget: Array
    rate: Array
    seed: Array
    runs: Array
    left_out: tuple[Caution, ...] = ()

    def __len__(self) -> int:
        return len(self.loss)

    def where(self, chosen: Array) -> "Points":
        """The points selected by a mask or an index array."""
        arrays = {
            f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name != "left_out"
        }
        return replace(self, **arrays)

    def budgets(self) -> list[float]:
        """The distinct budgets, smallest first."""
        return [float(budget) for budget in np.unique(self.budget)]


def make_points(
    params, tokens, flops, loss, *, budget=None, rate=None, seed=None, left_out=()
) -> Points:
    """Makes points from sequences of n numbers; without a budget (None, NaN) a run's own FLOPs
    count.

    Raises UserError for a run without a size, or with neither budget nor FLOPs: it belongs to no
    cell.
    """
    params, tokens, flops, loss = (
        np.asarray(values, np.float64) for values in (params, tokens, flops, loss)
    )
    blank = np.full(len(loss), np.nan)
    budget, rate, seed = (
        blank if values is None else np.asarray(values, np.float64)
        for values in (budget, rate, seed)
    )
    budget = np.where(np.isnan(budget), flops, budget)
    if not (np.isfinite(params).all() and np.isfinite(budget).all()):
        raise UserError(
            "points need finite params, and a finite budget or flops, each; leave out the runs "
            "that lack them"
        )
    return Points(
        params, tokens, flops, loss, budget, rate, seed, np.ones(len(loss)), tuple(left_out)
    )


def points_from_rows(rows: Iterable[Mapping[str, Any]], params: str = "params") -> Points:
    """Makes points from the rows of a sweep's results; `params` names the column with N.

    Leaves out a run that is neither complete nor diverged, or lacks loss, size or compute, with a
    caution that names it. Raises UserError for a row that lacks a column or has a number that
    cannot be read.
    """
    kept, left_out = [], []
    for row in rows:
        name, status = row.get("name", "a run"), row.get("status", "complete")
        loss = math.inf if status == "diverged" else _number(row, "loss")
        values = [_number(row, key) for key in (params, "tokens", "flops")]
        optional = [
            _number(row, key, needed=False)
            for key in ("budget_flops", "optimizer.peak_rate", "seed")
        ]
        has_compute = math.isfinite(optional[0]) or math.isfinite(values[2])
        if (
            status in ("complete", "diverged")
            and math.isfinite(values[0])
            and has_compute
            and not math.isnan(loss)
        ):
            kept.append([*values, loss, *optional])
        else:
            message = f"run {name} ({status}) lacks a loss, a size or its compute"
            left_out.append(Caution("run left out", str(name), message))
    columns = np.array(kept, np.float64).reshape(-1, 7).T
    return make_points(
        *columns[:4], budget=columns[4], rate=columns[5], seed=columns[6], left_out=left_out
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


def best_of_each(points: Points) -> tuple[Points, tuple[Caution, ...]]:
    """The best rate of each (budget, N) cell: the one with the lowest mean loss over seeds.

    At a fixed budget N decides D, so this is the best of each (N, D). A rate at which any seed
    diverged is never the best, but counts as part of the grid. Cautions: every rate of a cell
    diverged; the best rate is at the edge of a grid of three or more; of grids of two rates the
    same side wins in every cell (some edge always wins); no cell has two rates, so the rate was not
    tuned.
    """
    cells, edges, two_sided, cautions, grid_sizes = [], [], [], [], []
    keys = np.stack([points.budget, points.params], -1)
    for key in np.unique(keys, axis=0):
        cell = points.where((keys == key).all(-1))
        means = [(rate, cell.where(_same(cell.rate, rate))) for rate in np.unique(cell.rate)]
        best = int(np.argmin([group.loss.mean() for _, group in means]))
        rate, group = means[best]
        where = f"{key[1]:.3g} parameters at {key[0]:.3g} FLOPs"
        if not _usable(group):
            message = f"no rate of {where} gave a finite, positive loss: the cell is left out"
            cautions.append(Caution("run left out", where, message))
            continue
        cells.append(_mean(group))
        grid_sizes.append(len(means))
        if len(means) >= 3 and best in (0, len(means) - 1):
            edges.append(f"{where} ({rate:.3g})")
        if len(means) == 2:
            two_sided.append(best)
    cautions += _rate_cautions(edges, two_sided, grid_sizes)
    arrays = [f.name for f in fields(Points) if f.name != "left_out"]
    joined = {
        name: np.array([getattr(cell, name)[0] for cell in cells], np.float64) for name in arrays
    }
    return Points(**joined, left_out=points.left_out), tuple(cautions)


def _usable(group: Points) -> bool:
    values = np.stack([group.params, group.tokens, group.flops, group.loss])
    return bool((np.isfinite(values) & (values > 0)).all())


def _same(rates: Array, rate: float) -> Array:
    return np.isnan(rates) if np.isnan(rate) else rates == rate


def _mean(group: Points) -> Points:
    first = group.where(np.array([0]))
    return replace(first, loss=np.array([group.loss.mean()]), runs=np.array([float(len(group))]))


def _rate_cautions(edges: list[str], two_sided: list[int], grid_sizes: list[int]) -> list[Caution]:
    cautions = []
    kind = "best rate at the edge of its grid"
    if edges:
        message = (
            f"the best rate is the edge of its grid in {len(edges)} of {len(grid_sizes)} cells: "
            "widen the grid"
        )
        cautions.append(Caution(kind, "; ".join(edges), message))
    if two_sided and len(set(two_sided)) == 1:
        side = "higher" if two_sided[0] else "lower"
        message = f"the {side} of two rates wins in every cell: the best rate may lie beyond it"
        cautions.append(Caution(kind, f"all {len(two_sided)} cells with two rates", message))
    if grid_sizes and max(grid_sizes) == 1:
        cautions.append(
            Caution(
                "rate not tuned",
                "all cells",
                "one rate a cell: the valleys may be those of the rate",
            )
        )
    return cautions
