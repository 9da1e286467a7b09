"""Groups the runs of a cell by their settings: runs of one group differ in their seed alone."""

from collections.abc import Hashable, Iterable
from typing import TypeVar

import numpy as np

Array = np.ndarray
CellT = TypeVar("CellT", bound=Hashable)
SettingT = TypeVar("SettingT", bound=Hashable)


def by_setting(keys: Iterable[tuple[CellT, SettingT]]) -> dict[CellT, dict[SettingT, Array]]:
    """(cell, setting) of each row -> the places i64 of the rows of each setting of each cell."""
    cells: dict[CellT, dict[SettingT, list[int]]] = {}
    for row, (cell, setting) in enumerate(keys):
        cells.setdefault(cell, {}).setdefault(setting, []).append(row)
    return {
        cell: {setting: np.array(rows) for setting, rows in settings.items()}
        for cell, settings in cells.items()
    }


def mean(losses: Array, runs: Array, rows: Array) -> float:
    """The mean loss of rows, each of which may be the mean of several runs already."""
    return float(np.average(losses[rows], weights=runs[rows]))
