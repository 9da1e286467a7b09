"""What a tokenizer is: a module of lm_lab/data/tokenizers has Config and make(config) -> Tokenizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Tokenizer(NamedTuple):
    """Text to ids and back: decode(encode(text)) == text, and bytes_of[encode(text)].sum() is its size in UTF-8."""

    identity: str  # all that decides what encode returns: the name, and a digest of what was learnt
    vocab: int  # ids are 0 .. vocab - 1
    end_of_document: int  # the id that the token store puts after every document; encode never returns it
    bytes_of: np.ndarray  # u16[vocab]: the UTF-8 bytes of the original text that each id stands for
    words: np.ndarray  # u8[vocab]: 0 stands alone, 1 goes on with a word where one stands before it, 2 begins a word
    sentence_ends: np.ndarray  # bool[vocab]: a sentence ends after it
    encode: Callable[[str], np.ndarray]  # text -> ids, of the smallest unsigned type that holds the vocabulary
    decode: Callable[[Any], str]  # ids -> text, without end_of_document; bytes that are not UTF-8 become U+FFFD
