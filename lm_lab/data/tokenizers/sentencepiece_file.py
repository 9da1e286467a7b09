"""The SentencePiece model (1808.06226) of a published model: T5, LLaMA 2, Mistral, Gemma, MarianMT.

Its rules normalise a text (they may join spaces and put one before it); bytes are counted of the
normalised text. MarianMT splits sources by one file and targets by another, and has the ids of both
in a third.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from lm_lab.contracts import Tokenizer
from lm_lab.data.subword import as_arrays
from lm_lab.data.tokenizers import _files, byte
from lm_lab.data.tokenizers._library import SPACE
from lm_lab.data.tokenizers.sentencepiece import begins_word, encode_batch, written_by
from lm_lab.runs import reading
from lm_lab.schema import setting
from lm_lab.types import Codec, Encoder, UserError

LANGUAGE = re.compile(
    r">>\S+<<"
)  # before a source of MarianMT: the language to translate into, one piece


@dataclasses.dataclass(frozen=True)
class Config:
    """Which files, and which pieces are special."""

    tokenizer_file: str = setting(
        "path of a SentencePiece model; of pairs with target_file, that of sources", names_file=True
    )
    target_file: str | None = setting(
        "the one of targets, and of text; None: the same", None, names_file=True
    )
    vocab_file: str | None = setting(
        "JSON that gives each piece its id; None: the model's own", None, names_file=True
    )
    end_token: str = setting("the piece that ends a document", "</s>")
    begin_token: str | None = setting("the piece that a text begins with; None: none", None)
    sentinels: int = setting(
        "ids after the pieces, of hidden spans, the last one's first (T5's extra_ids)", 0, low=0
    )


def make(config: Config, learnt: bytes = b"") -> Codec:
    """The tokenizer of the files. Raises UserError if one is missing or of another kind."""
    source = _processor("tokenizer_file", config.tokenizer_file)
    target = source if config.target_file is None else _processor("target_file", config.target_file)
    ids = _ids(config, target)
    where = f"config.data.tokenizer {config.vocab_file or config.tokenizer_file}"
    written = _files.texts_of_ids(where, _written(target, ids)) + [b""] * config.sentinels
    vocab, size = len(written), len(written) - config.sentinels
    end = _id(ids, "end_token", config.end_token)
    begin = [] if config.begin_token is None else [_id(ids, "begin_token", config.begin_token)]
    dtype = np.min_scalar_type(vocab - 1)

    def by_ids(texts: Sequence[str]) -> list[np.ndarray]:
        if not begin:
            return encode_batch(target, list(texts), dtype)
        ids_of_texts = target.EncodeAsIds(list(texts), num_threads=-1)  # a thread for each core
        return as_arrays([begin + part for part in ids_of_texts], dtype)

    def encoder(processor: Any) -> Callable[[str], np.ndarray]:
        unknown = ids.get(processor.IdToPiece(processor.unk_id()), 0)

        def encode(text: str) -> np.ndarray:
            match = LANGUAGE.match(text) if config.vocab_file is not None else None
            code = [ids[match[0]]] if match and match[0] in ids else []
            pieces = processor.EncodeAsPieces(text[match.end() :] if match and code else text)
            return np.array(begin + code + [ids.get(piece, unknown) for piece in pieces], dtype)

        return encode

    names = {number: piece for piece, number in ids.items()}

    def decode(encoded: Any) -> str:
        visible = [n for n in np.asarray(encoded).ravel().tolist() if n < size and written[n]]
        return target.DecodePieces([names[number] for number in visible])

    return Codec(
        _identity(config),
        vocab,
        end,
        np.array([*map(len, written)], np.uint16),
        np.array([begins_word(data) if data else 0 for data in written], np.uint8),
        np.array(
            [n == end or byte.ends_sentence(data.rstrip(b" ")) for n, data in enumerate(written)]
        ),
        encoder(target) if config.vocab_file else Encoder(encoder(target), by_ids),
        decode,
        encode_source=None if target is source else encoder(source),
        sentinels=tuple(range(vocab - 1, size - 1, -1)),
        unknown=_unknown(target, ids, vocab),
    )


def _processor(key: str, name: str) -> Any:
    """SentencePiece's processor of a file."""
    where = f"config.data.tokenizer.{key} {name}"
    content = _files.content(where, name, "tokenizer.model")
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=content)
    except RuntimeError:
        raise UserError(f"{where}: not a whole SentencePiece model; {_files.AGAIN}") from None


def _ids(config: Config, target: Any) -> dict[str, int]:
    """The id of every piece."""
    if config.vocab_file is None:
        return {target.IdToPiece(number): number for number in range(target.GetPieceSize())}
    ids = reading.read_object(Path(config.vocab_file), "name a JSON file of pieces and ids")
    if not ids:
        raise UserError(
            f"config.data.tokenizer.vocab_file {config.vocab_file}: must give each piece its id"
        )
    return ids


def _id(ids: dict[str, int], key: str, piece: str) -> int:
    if piece not in ids:
        raise UserError(
            f"config.data.tokenizer.{key}: the tokenizer has no {piece!r}; name one of its pieces"
        )
    return ids[piece]


def _written(target: Any, ids: dict[str, int]) -> dict[int, bytes]:
    """The text of each id; empty for special ones."""
    numbers = {target.IdToPiece(number): number for number in range(target.GetPieceSize())}
    special = {"</s>", "<s>", "<pad>", "<unk>"}
    texts = dict.fromkeys(ids.values(), b"")
    for piece, number in ids.items():
        if piece in numbers:
            texts[number] = written_by(target, numbers[piece])
        elif piece not in special and not LANGUAGE.fullmatch(piece):  # of sources alone
            texts[number] = piece.replace(SPACE, " ").encode()
    return texts


def _unknown(target: Any, ids: dict[str, int], vocab: int) -> np.ndarray:
    """bool[vocab]: the fallback bytes and the unknown piece."""
    is_unknown = np.zeros(vocab, bool)
    for number in range(target.GetPieceSize()):
        if target.IsUnknown(number):
            is_unknown[ids.get(target.IdToPiece(number), 0)] = True
        elif target.IsByte(number) and target.IdToPiece(number) in ids:
            is_unknown[ids[target.IdToPiece(number)]] = True
    return is_unknown


def _identity(config: Config) -> str:
    """The settings, with a digest of each file in place of its name."""
    facts: dict[str, Any] = dataclasses.asdict(config)
    names: Iterable[str] = [
        name for name in facts if name.endswith("_file") and facts[name] is not None
    ]
    facts |= {
        name: hashlib.sha256(reading.read_bytes(Path(facts[name]))).hexdigest() for name in names
    }
    content = json.dumps(facts, sort_keys=True).encode()
    return f"sentencepiece_file-{hashlib.sha256(content).hexdigest()[:32]}"


TOKENIZER = Tokenizer(Config, make)
