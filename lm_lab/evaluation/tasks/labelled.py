"""Texts with labels, scored by a run that learnt classification or regression.

Of classes: accuracy, f1 (of class 1 where there are two, as GLUE (1804.07461); else the mean of all
classes), matthews (Matthews' correlation, of any number of classes). Of values: pearson, spearman.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from lm_lab.contracts import EvalTask, Scores, TextModel
from lm_lab.data.sources import labelled
from lm_lab.evaluation.metrics.correlation import correlations
from lm_lab.schema import setting
from lm_lab.types import UserError


@dataclass(frozen=True)
class Config(labelled.Config):
    """As the source `labelled` reads files."""

    path: str = setting("the labelled texts: a file, tab- or comma-separated")


def prepare(config: Config) -> Callable[[TextModel], Scores]:
    """Reads texts and labels. Raises UserError."""
    documents = list(labelled.documents(config))
    if not documents:
        raise UserError(f"path: {config.path!r} holds no text; give labelled ones")
    texts = [document.text for document in documents]
    labels = np.array([document.label for document in documents], np.float64)
    return partial(_measure, texts, labels)


def _measure(texts: list[str], labels: np.ndarray, model: TextModel) -> Scores:
    outputs_nC = np.asarray(model.outputs(texts), np.float64)
    if outputs_nC.shape[1] == 1:
        return Scores({"values": outputs_nC[:, 0], "labels": labels}, _of_values)
    classes = outputs_nC.shape[1]
    if not ((labels >= 0) & (labels < classes) & (labels % 1 == 0)).all():
        raise UserError(f"path: a label is none of the model's classes 0 .. {classes - 1}; mend it")
    statistics = {"chosen": outputs_nC.argmax(1), "labels": labels.astype(np.int64)}
    return Scores(statistics, partial(_of_classes, classes))


def _of_values(statistics: Mapping[str, np.ndarray]) -> dict[str, float]:
    return correlations(statistics["values"], statistics["labels"])


def _of_classes(classes: int, statistics: Mapping[str, np.ndarray]) -> dict[str, float]:
    table = np.zeros((classes, classes))
    np.add.at(table, (statistics["labels"], statistics["chosen"]), 1)
    return {
        "accuracy": float(np.trace(table) / table.sum()),
        "f1": f1(table),
        "matthews": matthews(table),
    }


def f1(table_LC: np.ndarray) -> float:
    """F1 by a table of how often each class (rows) was taken for each (columns); 0 of a class
    without any.
    """
    correct, totals = np.diag(table_LC), table_LC.sum(0) + table_LC.sum(1)
    f1_of_classes = np.divide(2 * correct, totals, out=np.zeros(len(correct)), where=totals > 0)
    return float(f1_of_classes[1] if len(f1_of_classes) == 2 else f1_of_classes.mean())


def matthews(table_LC: np.ndarray) -> float:
    """Matthews' correlation by the same table (Gorodkin 2004, of any number of classes); 0 where
    all texts have one class, or are given one.
    """
    labels, chosen, count = table_LC.sum(1), table_LC.sum(0), table_LC.sum()
    shared = np.trace(table_LC) * count - labels @ chosen
    spread = np.sqrt((count**2 - chosen @ chosen) * (count**2 - labels @ labels))
    return float(shared / spread) if spread else 0.0


TASK = EvalTask(Config, prepare, needs=("outputs",))
