"""Documents of tasks that are drawn from a seed: the same ones at every call, on every machine."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np

from lm_lab.contracts import Source
from lm_lab.data.documents import digest
from lm_lab.schema import setting
from lm_lab.types import DataForm, Document

AT_ONCE = 512  # documents drawn from one generator, so that a larger number extends a smaller one
SAMPLE = 16  # documents that are hashed for a fingerprint


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """The settings of every drawn source."""

    documents: int = setting("how many documents", 20_000, low=2, high=2**30)
    task_seed: int = setting("which documents", 0, low=0)


DrawnT = TypeVar("DrawnT", bound=Drawn)
Draw = Callable[[np.random.Generator], Document]
"""Draws a document; its name is given to it afterwards."""


def source(
    task: str,
    config_class: type[DrawnT],
    draw: Callable[[DrawnT, np.random.Generator], Document],
    provides: DataForm = "stream",
) -> Source[DrawnT]:
    """The source of a task whose documents `draw` draws, each independently of the others."""

    def all_documents(config: DrawnT) -> Iterator[Document]:
        return documents(task, config, partial(draw, config))

    def digest_of(config: DrawnT) -> str:
        return fingerprint(task, config, partial(draw, config))

    return Source(config_class, all_documents, digest_of, provides)


def documents(task: str, config: Drawn, draw: Draw) -> Iterator[Document]:
    """Independent documents of a task, named by their number."""
    for first in range(0, config.documents, AT_ONCE):
        rng = np.random.default_rng([config.task_seed, first])
        for number in range(first, min(first + AT_ONCE, config.documents)):
            yield draw(rng)._replace(name=f"{task}-{number:08d}")


def fingerprint(task: str, config: Drawn, draw: Draw) -> str:
    """Digest of the settings and of the first documents, so that another random generator is
    noticed.
    """
    sample = [repr(document) for document in islice(documents(task, config, draw), SAMPLE)]
    return digest([task, repr(config), *sample])
