"""The best value of a setting (a rate, a batch) of each cell, by a parabola in its logarithm."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from lm_lab.scaling.contract import Array, Columns
from lm_lab.scaling.curves import Reduced
from lm_lab.scaling.records import Caution

AROUND = 2  # values on either side of the lowest that the parabola is fitted to
BEST_AT_EDGE = "best setting at the edge of its grid"


def optima(columns: Columns, setting: str, others: Sequence[str], cells: Sequence[str]) -> Reduced:
    """Columns with a row a cell: its columns `cells`, and the best value of `setting`.

    A cell's loss at a value is the mean over its seeds (rows that agree in `others` too), and the
    lowest over the `others`, settings tuned together with it. The optimum is the vertex of a
    parabola through the lowest value and two on either side. Cautions: cells left out because the
    lowest value or the vertex is at an edge, or with fewer than three values.
    """
    rows = _usable(columns, (*cells, setting, "loss"))
    keys = np.stack([rows[name] for name in cells], -1)
    found, edges, few = [], [], []
    for key in np.unique(keys, axis=0):
        cell = {name: column[(keys == key).all(-1)] for name, column in rows.items()}
        values, losses = _profile(cell, setting, others)
        where = ", ".join(f"{name} {value:.4g}" for name, value in zip(cells, key))
        if len(values) < 3:
            few.append(where)
            continue
        at = _vertex(np.log(values), losses)
        if at is None:
            edges.append(f"{where} ({values[losses.argmin()]:.3g})")
        else:
            found.append([*key, np.exp(at)])
    columns_found = np.array(found).reshape(-1, len(cells) + 1).T
    count = len(found) + len(edges) + len(few)
    return Reduced(
        dict(zip((*cells, setting), columns_found)), tuple(_cautions(setting, edges, few, count))
    )


def _usable(columns: Columns, needs: Sequence[str]) -> Columns:
    values = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    good = np.all([np.isfinite(values[name]) & (values[name] > 0) for name in needs], axis=0)
    return {name: column[good] for name, column in values.items()}


def _profile(cell: Columns, setting: str, others: Sequence[str]) -> tuple[Array, Array]:
    """Each value of the setting, and its loss with the best of the others."""
    others = [name for name in others if name in cell and np.isfinite(cell[name]).all()]
    runs = cell.get("runs", np.ones(len(cell["loss"])))
    values, losses = np.unique(cell[setting]), []
    for value in values:
        choices = product(*(np.unique(cell[name]) for name in others))
        masks = [
            np.all(
                [cell[setting] == value, *(cell[n] == of for n, of in zip(others, choice))], axis=0
            )
            for choice in choices
        ]
        losses.append(min(np.average(cell["loss"][m], weights=runs[m]) for m in masks if m.any()))
    return values, np.array(losses)


def _vertex(x: Array, losses: Array) -> float | None:
    """Where the parabola about the lowest loss has its vertex; None: not within the grid."""
    lowest = int(losses.argmin())
    if lowest in (0, len(x) - 1):
        return None
    window = slice(max(0, lowest - AROUND), lowest + AROUND + 1)
    curve, slope, _ = np.polyfit(x[window] - x[lowest], losses[window], 2)
    at = x[lowest] - slope / (2 * curve) if curve > 0 else np.nan
    return float(at) if x[0] < at < x[-1] else None


def _cautions(setting: str, edges: list[str], few: list[str], count: int) -> list[Caution]:
    found = []
    if edges:
        message = (
            f"the best {setting} of {len(edges)} of {count} cells is at the edge of its grid: they "
            "are left out; widen the grid"
        )
        found.append(Caution(BEST_AT_EDGE, "; ".join(edges), message))
    if few:
        message = f"{len(few)} of {count} cells have fewer than three values of {setting}"
        found.append(Caution("row left out", "; ".join(few[:8]), message))
    return found
