"""What a tokenizer is: a module of lm_lab/data/tokenizers has Config and make(config) -> Tokenizer.

A setting of Config that names a file (`names_file`) has a name that ends in `_file`; runs keep a
copy of what it names (train/carried.py).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Tokenizer(NamedTuple):
    """Text to ids and back: decode(encode(text)) == text, and bytes_of[encode(text)].sum() is its
    size in UTF-8.

    Those of other libraries that normalise text (lower case, a space put before it) give back what
    they made of it, and count the bytes of that.
    """

    identity: str  # all that decides what encode returns: the name, and a digest of what was learnt
    vocab: int  # ids are 0 .. vocab - 1
    end_of_document: (
        int  # the id that the token store puts after every document; encode never returns it
    )
    bytes_of: np.ndarray  # u16[vocab]: the UTF-8 bytes of the original text that each id stands for
    # u8[vocab]: 0 stands alone, 1 goes on with a word where one stands before it, 2 begins a word
    words: np.ndarray
    sentence_ends: np.ndarray  # bool[vocab]: a sentence ends after it
    encode: Callable[
        [str], np.ndarray
    ]  # text -> ids, of the smallest unsigned type that holds the vocabulary
    decode: Callable[
        [Any], str
    ]  # ids -> text, without special ids; bytes that are not UTF-8 become U+FFFD
    encode_source: Callable[[str], np.ndarray] | None = (
        None  # of a pair's sources, where they are cut otherwise
    )
    mask: int | None = None  # the id that hides a token; None: objectives add one
    stray: int | None = (
        # the id of byte 0xFF, where a run of bytes that is no UTF-8 is U+FFFD from its first on
        None
    )
    sentinels: tuple[
        int, ...
    ] = ()  # the ids that stand for hidden spans, in order; (): objectives add them

    def of_source(self, text: str) -> np.ndarray:
        """The ids of the source of a pair, as `encode`."""
        return (self.encode_source or self.encode)(text)
