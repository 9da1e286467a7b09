"""Refuses tables with impossible values: negative sizes, tokens in billions."""

import ast
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lm_lab.types import UserError

Array = np.ndarray
_POSITIVE = (
    "params",
    "tokens",
    "flops",
    "loss",
    "budget",
    "rate",
    "batch",
    "runs",
    "unique_tokens",
    "epochs",
    "active_params",
    "experts",
)
_SHARES = ("accuracy", "error", "decayed")
_COST = (0.02, 300.0)
"""C / (N D) is 6 by the usual count; with attention, a head that is not counted or sparse experts
it is between these, and outside only if a column is in another unit.
"""
_UNITS = {1e3: "thousands", 1e6: "millions", 1e9: "billions", 1e12: "trillions"}


def check_values(columns: Mapping[str, Array], names: Sequence[str], where: str) -> None:
    """Raises UserError for a number that its column cannot have, and names its row."""
    for name, values in columns.items():
        wrong, rule = np.isinf(values) & (name != "loss"), "must be finite"
        if name in _POSITIVE:
            wrong, rule = wrong | (values <= 0), "must be above zero and finite"
        elif name in _SHARES:
            wrong, rule = (values < 0) | (values > 1), "must lie between 0 and 1"
        if wrong.any():
            row = int(np.argmax(wrong))
            raise UserError(
                f"{where}, {names[row]}: {name} {rule}, not {values[row]:g}; mend it or leave the "
                "row out"
            )


def check_units(columns: Mapping[str, Array], origins: Mapping[str, str], where: str) -> None:
    """Raises UserError where sizes, tokens and FLOPs cannot be in the units that were read, and
    says which is likely.
    """
    params, tokens, flops = (columns.get(name) for name in ("params", "tokens", "flops"))
    if params is None or tokens is None or flops is None:
        return
    if "active_params" in columns:
        params = columns["active_params"]
    size, data = float(np.nanmedian(params)), float(np.nanmedian(tokens))
    cost = float(np.nanmedian(flops / (params * tokens)))
    low, high = _COST
    if not low <= cost <= high:
        remedy = _remedy(size, data, cost)
        raise UserError(
            f"{where}: C / (N D) is about {cost:.2g}, where 6 is usual (read params from "
            f"{origins['params']}; tokens from {origins['tokens']}; flops from "
            f"{origins['flops']}); give the unit that is not 1, as in columns {remedy}"
        )
    if size < 100 or data < 1e4:
        name, value = ("params", size) if size < 100 else ("tokens", data)
        raise UserError(
            f"{where}: {name} (from {origins[name]}) are about {value:.3g}: in millions or "
            f"billions? give the unit, as in columns {name}=NAME:billions"
        )
    if not 1e-4 <= data / size <= 1e6:
        name = "tokens" if data < size else "params"
        raise UserError(
            f"{where}: tokens are {data / size:.2g} times params (params from "
            f"{origins['params']}, tokens from {origins['tokens']}): one is in another unit; give "
            f"it, as in columns {name}=NAME:millions"
        )


def _remedy(size: float, data: float, cost: float) -> str:
    """The columns that are likely in another unit, and that unit."""
    factor = 1000.0 ** round(math.log(cost / 6, 1000))
    if factor < 1:
        return f"flops=NAME:1e{round(math.log10(1 / factor))}"
    if factor not in _UNITS:
        return "params=NAME:billions,tokens=NAME:billions"
    small = "params" if size < 1e5 and size * factor < 1e13 else "tokens"
    return f"{small}=NAME:{_UNITS[factor]}"


def is_text(cells: Sequence[Any]) -> bool:
    """Whether a column holds words: none of its cells is a number, or begins as one ("70M")."""
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    numbers = [cell for cell in cells if cell is not None and not isinstance(cell, str | bool)]
    starts = re.compile(r"\s*[-+]?\.?\d")
    return bool(texts) and not numbers and not any(map(starts.match, texts))


def literal(cell: Any) -> Any:
    """A cell as a number if its text is one, so that settings sort by size."""
    try:
        return ast.literal_eval(cell) if isinstance(cell, str) else cell
    except (ValueError, SyntaxError):
        return cell
