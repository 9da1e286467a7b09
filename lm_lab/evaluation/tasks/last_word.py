"""The last word of a passage, as LAMBADA asks for it (1606.06031): whether greedy writing gives it,
and how likely it is.

accuracy counts passages of which every token of the last word was the likeliest; perplexity is
exp of the mean of their nats a word, as lm_eval's lambada.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from lm_lab.contracts import EvalTask, Scores, TextModel
from lm_lab.evaluation.tasks import _records
from lm_lab.schema import setting
from lm_lab.types import UserError


@dataclass(frozen=True)
class Config:
    """Where the passages are."""

    path: str = setting("JSON lines, or a folder of such files")
    text: str = setting("field of the passage", "text")


def prepare(config: Config) -> Callable[[TextModel], Scores]:
    """Reads the passages. Raises UserError for one of a single word."""
    pairs = []
    for record in _records.read(config.path):
        before, space, word = record.field(config.text, str).rstrip().rpartition(" ")
        if not before.strip():
            raise UserError(f"{record.where}: {config.text!r} has no word before the last; mend it")
        pairs.append((before, space + word))
    return partial(_measure, pairs)


def _measure(pairs: list[tuple[str, str]], model: TextModel) -> Scores:
    rows = [
        {"accuracy": float(each.greedy), "nats": each.nats} for each in model.continuations(pairs)
    ]
    return Scores(_records.columns(rows), _metrics)


def _metrics(statistics: Mapping[str, np.ndarray]) -> dict[str, float]:
    with np.errstate(over="ignore"):
        perplexity = float(np.exp(-statistics["nats"].mean()))
    return {"accuracy": float(statistics["accuracy"].mean()), "perplexity": perplexity}


TASK = EvalTask(Config, prepare, needs=("continuations",))
