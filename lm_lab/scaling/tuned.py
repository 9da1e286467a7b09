"""The best value of a setting (a rate, a batch) of each cell, by a parabola in its logarithm."""

from collections.abc import Sequence

import numpy as np

from lm_lab.scaling.contract import Columns
from lm_lab.scaling.curves import Reduced
from lm_lab.scaling.rates import optimum
from lm_lab.scaling.records import Caution
from lm_lab.scaling.settings import by_setting, mean

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
    others = [name for name in others if name in rows and np.isfinite(rows[name]).all()]
    runs = rows.get("runs", np.ones(len(rows["loss"])))
    keys = zip(*(rows[name].tolist() for name in cells))
    settings = zip(*(rows[name].tolist() for name in (setting, *others)))
    optima_rows, edges, too_few = [], [], []
    for key, runs_by_setting in sorted(by_setting(zip(keys, settings)).items()):
        profile: dict[float, float] = {}
        for (value, *_), seeds_of_setting in runs_by_setting.items():
            loss = mean(rows["loss"], runs, seeds_of_setting)
            profile[value] = min(loss, profile.get(value, np.inf))
        values, losses = (np.array(column) for column in zip(*sorted(profile.items())))
        where = ", ".join(f"{name} {value:.4g}" for name, value in zip(cells, key))
        best = optimum(values, losses, AROUND)
        if len(values) < 3:
            too_few.append(where)
        elif not best.inside:
            edges.append(f"{where} ({best.value:.3g})")
        else:
            optima_rows.append([*key, best.value])
    columns_found = np.array(optima_rows).reshape(-1, len(cells) + 1).T
    count = len(optima_rows) + len(edges) + len(too_few)
    return Reduced(
        dict(zip((*cells, setting), columns_found)),
        tuple(_cautions(setting, edges, too_few, count)),
    )


def _usable(columns: Columns, needs: Sequence[str]) -> Columns:
    values = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    good = np.all([np.isfinite(values[name]) & (values[name] > 0) for name in needs], axis=0)
    return {name: column[good] for name, column in values.items()}


def _cautions(setting: str, edges: list[str], few: list[str], count: int) -> list[Caution]:
    cautions = []
    if edges:
        message = (
            f"the best {setting} of {len(edges)} of {count} cells is at the edge of its grid: they "
            "are left out; widen the grid"
        )
        cautions.append(Caution(BEST_AT_EDGE, "; ".join(edges), message))
    if few:
        message = f"{len(few)} of {count} cells have fewer than three values of {setting}"
        cautions.append(Caution("row left out", "; ".join(few[:8]), message))
    return cautions
