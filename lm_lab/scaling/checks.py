"""Refuses tables with impossible values (negative sizes, tokens in billions), and doubts losses
that look like perplexities, or are of unlike things.
"""

import ast
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from lm_lab.scaling.planted import surface
from lm_lab.scaling.records import Caution
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
UNIFORM = 13.0  # nats: a guess among 440,000 tokens
ABOVE_TEXT = 2.5
"""A factor over the loss of 2404.10102's surface at the same N and D. e^L / L is at least e, so
that perplexities of trained models lie above it; losses of text lie within a factor of about 1.5.
"""
_PERPLEXITY = re.compile(r"(^|_)(ppl|perplexity|perplexities)(_|$)")
_LOGARITHM = re.compile(r"(^|_)(log|ln|nll|nats?|loss)(_|$)")
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


def check_units(
    columns: Mapping[str, Array],
    origins: Mapping[str, str],
    where: str,
    stated: Collection[str] = (),
) -> None:
    """Raises UserError where sizes, tokens and FLOPs cannot be in the units that were read, and
    says which is likely. Few parameters or tokens are doubted where their unit was not `stated`.
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
    for name, value, least in (("params", size, 100), ("tokens", data, 1e4)):
        if value < least and name not in stated:
            raise UserError(
                f"{where}: {name} (from {origins[name]}) are about {value:.3g}: in millions or "
                f"billions? give the unit, as in columns {name}=NAME:billions, or {name}=NAME:1e0 "
                "for none"
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


def perplexity_cautions(
    columns: Mapping[str, Array], source: str, vocab: float | None
) -> list[Caution]:
    """A caution where the losses, read from the column `source`, look like perplexities: by that
    name, above ln `vocab` (a guess), or far above what models of such N and D reach on text.
    """
    losses = columns["loss"][np.isfinite(columns["loss"])]
    if not len(losses):
        return []
    middle, guess = float(np.median(losses)), UNIFORM if vocab is None else math.log(vocab)
    name = re.sub(r"[^a-z0-9]+", "_", source.lower())
    reason = ""
    if _PERPLEXITY.search(name) and not _LOGARITHM.search(name):
        reason = "by the name of their column"
    elif middle > guess:
        of = f"vocabulary of {vocab:.6g}" if vocab is not None else "vocabulary of 440,000"
        reason = f"with {middle:.3g} in the middle, where a guess from a {of} has {guess:.3g} nats"
    elif (ratio := _over_text(columns)) > ABOVE_TEXT:
        reason = f"{ratio:.2g} times the loss of text by models of such N and D"
    if not reason:
        return []
    message = f"losses look like perplexities, {reason}: fit their logarithm, which is in nats"
    return [Caution("loss like a perplexity", f"column {source!r}", message)]


def unlike_cautions(
    settings: Mapping[str, Sequence[Any]], unit: Literal["byte", "token"]
) -> list[Caution]:
    """A caution for each setting that makes losses unlike: an objective, or a tokenizer where
    losses are in nats a token, of which the rows have more than one.
    """
    kinds = "objective" if unit == "byte" else "objective|tokenizer"
    names = [name for name in settings if re.search(rf"(^|[._])({kinds})([._]name)?$", name)]
    counts = {name: len({str(value) for value in settings[name]}) for name in names}
    return [
        Caution(
            "unlike losses",
            f"column {name!r}",
            f"rows of {count} are fitted as one, and their losses are of unlike things: choose by "
            f"rows={name}=VALUE"
            + (", or fit bits per byte" if name.partition("tokenizer")[1] else ""),
        )
        for name, count in counts.items()
        if count > 1
    ]


def _over_text(columns: Mapping[str, Array]) -> float:
    """The median ratio of the losses to those of 2404.10102's surface; 0 without N and D."""
    params = columns.get("active_params", columns.get("params"))
    if params is None or "tokens" not in columns:
        return 0.0
    ratio = columns["loss"] / surface(params, columns["tokens"])
    ratio = ratio[np.isfinite(ratio)]
    return float(np.median(ratio)) if len(ratio) else 0.0


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
