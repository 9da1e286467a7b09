"""A seeded Markov source over letters, with a known entropy rate: a lower bound of the loss."""

import dataclasses
import string
from collections.abc import Iterator

import numpy as np

from lm_lab.contracts import Source
from lm_lab.data import markov
from lm_lab.data.documents import digest
from lm_lab.schema import setting
from lm_lab.types import Document, UserError

ALPHABET = string.ascii_letters + string.digits + " ."
LARGEST_TABLE = 1024
DOCUMENTS_AT_ONCE = 512


@dataclasses.dataclass(frozen=True)
class Config:
    """The language, and the number and length of its documents."""

    symbols: int = setting("letters of the alphabet, one byte each", 16, low=2, high=len(ALPHABET))
    order: int = setting("how many letters the next one depends on", 2, low=1, high=8)
    concentration: float = setting(
        "of the Dirichlet that rows are drawn from; smaller is more certain", 0.3, low=0.01
    )
    language_seed: int = setting("which language, and which text in it", 0, low=0)
    documents: int = setting("how many documents", 1024, low=2, high=2**30)
    document_bytes: int = setting("bytes in each document", 4096, low=1, high=2**22)

    def __post_init__(self) -> None:
        """Raises UserError for a transition table too large to be solved exactly."""
        if self.symbols**self.order > LARGEST_TABLE:
            raise UserError(
                f"symbols ** order must be at most {LARGEST_TABLE}, not "
                f"{self.symbols}**{self.order}; lower one"
            )


def documents(config: Config) -> Iterator[Document]:
    """Independent documents of `document_bytes` ASCII letters, from the stationary distribution."""
    table = _table(config)
    letters = np.frombuffer(ALPHABET.encode(), np.uint8)
    for first in range(0, config.documents, DOCUMENTS_AT_ONCE):
        rng = np.random.default_rng([config.language_seed, 1, first])
        block = markov.sample(table, DOCUMENTS_AT_ONCE, config.document_bytes, rng)
        for row, symbols in enumerate(block[: config.documents - first]):
            yield Document(f"synthetic-{first + row:08d}", letters[symbols].tobytes().decode())


def fingerprint(config: Config) -> str:
    """Digest of the settings and of the table itself, so that another
    random generator is noticed.
    """
    return digest(["synthetic", repr(config), _table(config).tobytes()])


def entropy_rate(config: Config) -> float:
    """The least bits per byte of any model on long text (exact, float64).

    The beginning and the end of a document cost a model more, with a weight of 1 / document_bytes.
    """
    return markov.entropy_rate(_table(config))


def _table(config: Config) -> np.ndarray:
    return markov.transitions(
        config.symbols, config.order, config.concentration, config.language_seed
    )


SOURCE = Source(Config, documents, fingerprint)
