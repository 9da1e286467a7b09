"""SentencePiece (1808.06226): unigram or BPE pieces learnt from the training text, with bytes.

Text is taken as it is: nothing is normalised unless a normal form is asked for, no space is added
or dropped. decode(encode(text)) is the text, but for U+2581, which SentencePiece writes for a
space, and without byte fallback for characters too rare to have a piece.
"""

import dataclasses
import hashlib
import io
import itertools
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import sentencepiece

from lm_lab.contracts import Tokenizer
from lm_lab.data import normal_forms, subword
from lm_lab.data.tokenizers import _library, byte
from lm_lab.schema import setting
from lm_lab.types import Codec, Encoder, UserError

# Characters of a text, on average, beyond which SentencePiece is quicker with an array for each
# text than with a list.
LONG = 100
TEXTS = 512  # short texts a core that are encoded at once: their lists stay in its cache
LONGEST_BYTES = (
    100_000  # of a text in training; longer ones are cut, as SentencePiece would skip them
)
# pieces: the most seeds of SentencePiece's unigram, which refuses more only after a long search
MOST = 1_000_000


@dataclasses.dataclass(frozen=True)
class Config:
    """Which pieces are learnt."""

    pieces: int = setting("how many, the 256 bytes (if any) among them", 4000, low=257, high=MOST)
    kind: Literal["unigram", "bpe"] = setting(
        "how they are found (1804.10959, 1508.07909)", "unigram"
    )
    byte_fallback: bool = setting(
        "characters without a piece are spelt in bytes; without: they are lost, and not counted",
        True,
    )
    normal_form: normal_forms.Form | None = setting(normal_forms.MEANING, None)


def learn(config: Config, texts: Iterable[str]) -> bytes:
    """SentencePiece's model. One thread makes it repeatable.

    Raises UserError if the text has too few pieces.
    """
    model = io.BytesIO()
    normalised = normal_forms.in_form(texts, config.normal_form)
    parts = (part for text in normalised for line in text.split("\n") for part in _cut(line))
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=parts,
            model_writer=model,
            model_type=config.kind,
            vocab_size=config.pieces,
            byte_fallback=config.byte_fallback,
            character_coverage=0.9995,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            max_sentence_length=4 * LONGEST_BYTES,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(
            f"config.data.tokenizer.pieces: {config.pieces} cannot be learnt from this text; "
            f"{_remedy(str(error))}"
        ) from None
    return model.getvalue()


def _remedy(message: str) -> str:
    """What to do about an error of the library's trainer."""
    if least := re.search(r"required_chars\. \d+ vs (\d+)", message):
        return f"its characters and the bytes need {least[1]}; raise it"
    if most := re.search(r"value <= (\d+)", message):
        return f"the most for it is {most[1]}; lower it, or give more text"
    return f"give other text ({' '.join(message.split())[-200:]})"


def _cut(line: str) -> Iterable[str]:
    return (line[start : start + LONGEST_BYTES] for start in range(0, len(line), LONGEST_BYTES))


def make(config: Config, learnt: bytes) -> Codec:
    """The tokenizer: SentencePiece's ids, then end_of_document."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=learnt)
    count = processor.GetPieceSize()
    written = [written_by(processor, number) for number in range(count)]
    word_starts = [begins_word(data) for data in written]
    ends = [byte.ends_sentence(data.rstrip(b" ")) for data in written]
    dtype = np.min_scalar_type(count)

    def spells(number: int) -> bool:
        return processor.IsByte(number) or processor.IsUnknown(number)

    def encode(text: str) -> np.ndarray:
        return processor.EncodeAsNumpy(text).astype(dtype)

    def encode_all(texts: Sequence[str]) -> list[np.ndarray]:
        return encode_batch(processor, list(texts), dtype)

    def decode(ids: Any) -> str:
        flat = np.asarray(ids).ravel().tolist()
        return b"".join(written[number] for number in flat if number < count).decode(
            errors="replace"
        )

    identity = f"sentencepiece-{config.kind}-{hashlib.sha256(learnt).hexdigest()[:32]}"
    sizes = np.array([*map(len, written), 0], np.uint16)
    codec = Codec(
        identity,
        count + 1,
        count,
        sizes,
        np.array([*word_starts, 0], np.uint8),
        np.array([*ends, True]),
        Encoder(encode, encode_all),
        decode,
        unknown=np.array([*map(spells, range(count)), False]),
    )
    return normal_forms.behind(codec, config.normal_form)


def encode_batch(processor: Any, texts: list[str], dtype: np.dtype) -> list[np.ndarray]:
    """The ids of each text, by a thread for each core (num_threads=-1)."""
    if sum(map(len, texts)) > LONG * len(texts):
        return subword.narrowed(processor.EncodeAsNumpy(texts, num_threads=-1), dtype)
    many = TEXTS * (os.cpu_count() or 1)
    some = (texts[first : first + many] for first in range(0, len(texts), many))
    lists = (processor.EncodeAsIds(part, num_threads=-1) for part in some)
    return subword.as_arrays(itertools.chain.from_iterable(lists), dtype)


def written_by(processor: Any, number: int) -> bytes:
    """The text of a SentencePiece id; empty for special ones."""
    piece = processor.IdToPiece(number)
    if processor.IsByte(number):
        return bytes([int(piece[1:-1], 16)])  # <0x41>
    return (
        b""
        if processor.IsUnknown(number) or processor.IsControl(number)
        else piece.replace(_library.SPACE, " ").encode()
    )


def begins_word(data: bytes) -> int:
    """The entry of Codec.words for a piece."""
    if len(data) == 1:
        return int(byte.WORDS[data[0]])
    return 2 if data.startswith(b" ") else int(data[:1].isalnum() or data[:1] > b"\x7f")


def exported(config: Config, learnt: bytes) -> dict[str, Any]:
    """The tokenizer.json of the same pieces, whose last id is end_of_document."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=learnt)
    numbers = range(processor.GetPieceSize())
    return _library.of_pieces(
        [processor.IdToPiece(number) for number in numbers],
        [processor.GetScore(number) for number in numbers],
        processor.unk_id(),
        [
            bool(written_by(processor, number)) and not processor.IsByte(number)
            for number in numbers
        ],
        bpe=config.kind == "bpe",
        byte_fallback=config.byte_fallback,
        normal_form=config.normal_form,
    )


TOKENIZER = Tokenizer(Config, make, learn, exported=exported)
