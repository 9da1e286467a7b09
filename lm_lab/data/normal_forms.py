"""Unicode normal forms (UAX 15) in front of a tokenizer."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from lm_lab.types import Codec, Encoder

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]


# of a tokenizer's setting
MEANING = (
    "Unicode normal form of every text before it is cut; a text in another form comes back "
    "normalised, and its bytes are counted so; None: texts are taken as they are"
)


def in_form(texts: Iterable[str], form: Form | None) -> Iterable[str]:
    """The texts in a normal form."""
    return texts if form is None else _normalised(texts, form)


def _normalised(texts: Iterable[str], form: Form) -> Iterator[str]:
    return (unicodedata.normalize(form, text) for text in texts)


def behind(codec: Codec, form: Form | None) -> Codec:
    """The tokenizer with texts normalised before it."""
    if form is None:
        return codec

    def all_encoded(texts: Sequence[str]) -> list[np.ndarray]:
        return codec.encode_batch(list(_normalised(texts, form)))

    return codec._replace(
        identity=f"{codec.identity}-{form}",
        encode=Encoder(lambda text: codec.encode(unicodedata.normalize(form, text)), all_encoded),
    )
