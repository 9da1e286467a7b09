"""The last word of a passage, as in LAMBADA (1606.06031): whether greedy decoding gives it, and its
likelihood.

accuracy is the share of passages in which every token of the last word was the most likely one;
perplexity is exp of the mean nats of a last word, as in lm_eval's lambada.
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
        {"accuracy": float(likelihood.greedy), "nats": likelihood.nats}
        for likelihood in model.continuations(pairs)
    ]
    return Scores(_records.columns(rows), _metrics)


def _metrics(statistics: Mapping[str, np.ndarray]) -> dict[str, float]:
    with np.errstate(over="ignore"):
        perplexity = float(np.exp(-statistics["nats"].mean()))
    return {"accuracy": float(statistics["accuracy"].mean()), "perplexity": perplexity}


TASK = EvalTask(Config, prepare, needs=("continuations",))
