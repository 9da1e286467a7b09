"""A table for a law of another form: one row for each combination of the law's inputs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lm_lab.scaling.records import Caution
from lm_lab.scaling.settings import by_setting, mean
from lm_lab.scaling.table import Table
from lm_lab.types import UserError

Array = np.ndarray
_TUNED = ("rate", "batch", "budget", "epochs", "unique_tokens", "active_params", "experts")
_SIZES = ("params", "tokens", "flops")
_HIGHER = ("accuracy",)  # targets of which more is better


def best_of_each(table: Table, inputs: Sequence[str], target: str, where: str) -> Table:
    """The best setting of each size, data, compute and value of `inputs`: the mean of its seeds.

    Columns other than the seed that differ between rows of the same inputs are settings: the
    settings of the best mean are kept, and a caution says how many there were. The column "runs"
    has the seeds of each row. Rows whose target is infinite (diverged) are never the best. Raises
    UserError for two rows that differ in nothing, not even the seed.
    """
    keys = [name for name in dict.fromkeys((*_SIZES, *inputs)) if name in table]
    columns = [name for name in _TUNED if name in table and name not in (*keys, target)]
    runs = table["runs"] if "runs" in table else np.ones(table.rows)
    cells = zip(*(map(repr, table[name].tolist()) for name in keys))
    tuned = [[f"{name}={value:.6g}" for value in table[name]] for name in columns]
    tuned += [[f"{name}={value}" for value in values] for name, values in table.settings.items()]
    settings = [
        tuple(values_of_setting[row] for values_of_setting in tuned) for row in range(table.rows)
    ]
    best_rows, means, seeds, several = [], [], [], 0
    for settings_of_cell in by_setting(zip(cells, settings)).values():
        several += len(settings_of_cell) > 1
        for rows in settings_of_cell.values():
            _check_seeds(table, rows, where)
        values = [mean(table[target], runs, rows) for rows in settings_of_cell.values()]
        order = [-value if target in _HIGHER else value for value in values]
        best = int(np.argmin(order))
        if np.isfinite(values[best]):
            rows = [*settings_of_cell.values()][best]
            best_rows.append(rows[0])
            means.append(values[best])
            seeds.append(runs[rows].sum())
    reduced = table.where(np.array(best_rows, int))
    replaced = {**reduced.columns, target: np.array(means), "runs": np.array(seeds)}
    cautions = (*table.cautions, *_caution(several, len(best_rows)))
    return replace(
        reduced,
        columns=replaced,
        origins={
            **table.origins,
            "runs": table.origins.get("runs", "rows that differ in the seed"),
        },
        cautions=cautions,
    )


def _check_seeds(table: Table, rows: Array, where: str) -> None:
    seeds = table["seed"][rows] if "seed" in table else np.full(len(rows), np.nan)
    if len({repr(float(seed)) for seed in seeds}) < len(rows):
        names = " and ".join(table.names[row] for row in rows[:2])
        raise UserError(
            f"{where}: rows {names} are of the same inputs, settings and seed; leave one out, name "
            "what differs (a column 'seed', for one), or keep rows of one kind by rows COLUMN=VALUE"
        )


def _caution(several: int, count: int) -> tuple[Caution, ...]:
    if not several:
        return ()
    message = f"{several} of {count} points are the best of several settings"
    return (Caution("best of several settings", "the table", message),)
