"""The best settings of each (N, D) cell: over peak rate and other swept settings, but not over
seeds.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from lm_lab.scaling.points import Points
from lm_lab.scaling.rates import optimum
from lm_lab.scaling.records import Caution
from lm_lab.scaling.settings import by_setting, mean

Array = np.ndarray


@dataclass(frozen=True)
class _Grid:
    """How the runs of one cell were tuned: `best` has the seeds of the best rate and settings,
    `tried` those of each of the `rates` with these settings.
    """

    where: str
    best: Points
    tried: list[Points]
    rates: Array
    edges: tuple[str, ...]  # numeric settings with three or more values, the best at an end


def best_of_each(points: Points) -> tuple[Points, tuple[Caution, ...]]:
    """The best rate and settings of each (budget, N) cell: the lowest mean `choice` over seeds.

    At a fixed budget N decides D, so this is the best of each (N, D). `rate` is the optimum between
    the rates tried (rates.py), `loss` that at this optimum, and `settings` name the best; `runs`
    and `loss_sd` are of the seeds of the best rate tried. Settings that diverged with any seed are
    never the best, but count as part of the grid. Cautions: every run of a cell diverged; the best
    rate or setting is at the edge of a grid of three or more; in grids of two rates, where an edge
    always wins, the same side wins in every cell; no cell has two rates, so the rate was not tuned.
    """
    grids, cautions = [], []
    keys = zip(points.budget.tolist(), points.params.tolist())
    # as text, because an unknown rate is NaN, which differs from itself
    settings = zip(map(repr, points.settings), map(repr, points.rate.tolist()))
    for key, groups in sorted(by_setting(zip(keys, settings)).items()):
        grid = _tune([points.where(rows) for rows in groups.values()], *key)
        if _usable(grid.best):
            grids.append(grid)
        else:
            message = f"no run of {grid.where} gave a finite, positive loss: the cell is left out"
            cautions.append(Caution("run left out", grid.where, message))
    cautions += _rate_cautions(grids) + _setting_cautions(grids)
    return _joined(points, [_at_optimum(grid) for grid in grids]), tuple(cautions)


def _tune(tried: list[Points], budget: float, params: float) -> _Grid:
    best = min(tried, key=lambda group: (_average(group, group.choice), group.rate[0]))
    same_settings = [group for group in tried if group.settings[0] == best.settings[0]]
    same_settings.sort(key=lambda group: group.rate[0])
    edges = []
    for name, value in best.settings[0]:
        values_tried = {dict(group.settings[0])[name] for group in tried}
        values = sorted(values_tried) if _is_number(value) else []
        if len(values) >= 3 and value in (values[0], values[-1]):
            edges.append(f"{name}={value}")
    where = f"{params:.3g} parameters at {budget:.3g} FLOPs"
    rates = np.array([group.rate[0] for group in same_settings])
    return _Grid(where, best, same_settings, rates, tuple(edges))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _usable(group: Points) -> bool:
    values = np.stack([group.params, group.tokens, group.flops, group.loss])
    return bool((np.isfinite(values) & (values > 0)).all())


def _average(group: Points, losses: Array) -> float:
    return mean(losses, group.runs, np.arange(len(group)))


def _at_optimum(grid: _Grid) -> Points:
    """The seeds of the best rate as one cell, at the optimum of the rates tried."""
    group = grid.best
    choice = np.array(
        [_average(setting_group, setting_group.choice) for setting_group in grid.tried]
    )
    loss = np.array([_average(setting_group, setting_group.loss) for setting_group in grid.tried])
    rate, weights, _ = optimum(grid.rates, choice)
    used = weights != 0  # an infinite loss elsewhere would make NaN
    spread = group.loss.std(ddof=1) if len(group) > 1 else group.loss_sd[0]
    return replace(
        group.where(np.array([0])),
        rate=np.array([rate]),
        choice=np.array([weights[used] @ choice[used]]),
        loss=np.array([weights[used] @ loss[used]]),
        runs=np.array([group.runs.sum()]),
        loss_sd=np.array([spread]),
    )


def _joined(points: Points, cells: list[Points]) -> Points:
    arrays = [f.name for f in fields(Points) if f.name not in ("settings", "left_out")]
    columns = {
        name: np.array([getattr(cell, name)[0] for cell in cells], np.float64) for name in arrays
    }
    return replace(points, **columns, settings=tuple(cell.settings[0] for cell in cells))


def _rate_cautions(grids: list[_Grid]) -> list[Caution]:
    cautions = []
    kind = "best rate at the edge of its grid"
    edges = [
        f"{grid.where} ({grid.best.rate[0]:.3g})"
        for grid in grids
        if len(grid.rates) >= 3 and grid.best.rate[0] in (grid.rates[0], grid.rates[-1])
    ]
    if edges:
        message = (
            f"the best rate is the edge of its grid in {len(edges)} of {len(grids)} cells: widen "
            "the grid"
        )
        cautions.append(Caution(kind, "; ".join(edges), message))
    two_sided = [grid.best.rate[0] == grid.rates[1] for grid in grids if len(grid.rates) == 2]
    if two_sided and len(set(two_sided)) == 1:
        side = "higher" if two_sided[0] else "lower"
        message = f"the {side} of two rates wins in every cell: the best rate may lie beyond it"
        cautions.append(Caution(kind, f"all {len(two_sided)} cells with two rates", message))
    if grids and max(len(grid.rates) for grid in grids) == 1:
        rate_is_known = any(np.isfinite(grid.rates).any() for grid in grids)
        message = (
            "one rate a cell: the valleys may be those of the rate"
            if rate_is_known
            else "the runs have no peak rate: whether it was tuned is not known"
        )
        cautions.append(Caution("rate not tuned", "all cells", message))
    return cautions


def _setting_cautions(grids: list[_Grid]) -> list[Caution]:
    edges = [f"{grid.where} ({', '.join(grid.edges)})" for grid in grids if grid.edges]
    if not edges:
        return []
    message = (
        f"the best of another swept setting is the edge of its grid in {len(edges)} of "
        f"{len(grids)} cells: widen the grid"
    )
    return [Caution("best setting at the edge of its grid", "; ".join(edges), message)]
