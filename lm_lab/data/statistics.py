"""Statistics of a tokenized text: tokens, bytes, text outside of the vocabulary, the share of the
vocabulary in use.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lm_lab.types import Codec

AT_ONCE = 2**22  # tokens that are counted in one go


class Statistics(NamedTuple):
    """Counts of one split of a token store."""

    tokens: int  # with the ends of documents and texts
    bytes: int  # of text, as the tokenizer counts them
    unknown_tokens: int  # fallback bytes and unknown tokens
    unknown_bytes: int  # bytes of text that they stand for
    ids: int  # ids that occur

    @property
    def bytes_per_token(self) -> float:
        """Bytes of text per token."""
        return self.bytes / max(self.tokens, 1)

    @property
    def unknown_share(self) -> float:
        """The share of unknown tokens."""
        return self.unknown_tokens / max(self.tokens, 1)


def in_parts(tokens: np.ndarray) -> Iterator[np.ndarray]:
    """Tokens [n] in parts of AT_ONCE."""
    return (tokens[start : start + AT_ONCE] for start in range(0, len(tokens), AT_ONCE))


def read_in_parts(file: Path, dtype: np.dtype | str, start: int, stop: int) -> Iterator[np.ndarray]:
    """The tokens of a file in parts; they are read and not mapped, so that memory holds one part at
    a time.
    """
    size = np.dtype(dtype).itemsize
    for place in range(start, stop, AT_ONCE):
        yield np.fromfile(file, dtype, min(AT_ONCE, stop - place), offset=place * size)


def statistics(parts: Iterable[np.ndarray], codec: Codec) -> Statistics:
    """The counts of tokens that come in parts [n]."""
    counts = np.zeros(codec.vocab, np.int64)
    for tokens in parts:
        counts += np.bincount(tokens, minlength=codec.vocab)
    sizes = codec.bytes_of.astype(np.int64)
    unknown = np.zeros(codec.vocab, bool) if codec.unknown is None else codec.unknown
    return Statistics(
        int(counts.sum()),
        int(counts @ sizes),
        int(counts[unknown].sum()),
        int(counts[unknown] @ sizes[unknown]),
        int((counts > 0).sum()),
    )
