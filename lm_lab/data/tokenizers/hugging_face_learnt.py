"""Pieces that the Hugging Face library `tokenizers` learns from the training text (an extra).

Byte-level BPE (GPT-2's) and byte-level unigram lose nothing: whatever has no piece is spelt by the
256 letters that stand for bytes. WordPiece (BERT's) keeps words and punctuation, but not the spaces
between them, and a word with a character that was never seen is one unknown token. What is learnt
is a tokenizer.json, which other programs read too.

The library's unigram is learnt nine times as slowly as that of `sentencepiece`: 2,000 pieces of
260 kB of Korean reviews take 4.8 s of CPU time against 0.53.
"""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any, Literal

from lm_lab.contracts import Tokenizer
from lm_lab.data import extras, normal_forms
from lm_lab.data.tokenizers import _library, hugging_face
from lm_lab.schema import setting
from lm_lab.types import Codec, UserError

WHERE = "config.data.tokenizer hugging_face_learnt"
END, UNKNOWN = _library.END, "[UNK]"
MOST = 1_000_000


@dataclasses.dataclass(frozen=True)
class Config:
    """Which pieces are learnt, of which form of the text."""

    kind: Literal["bpe", "unigram", "wordpiece"] = setting(
        "the model (1508.07909, 1804.10959, 1810.04805)", "bpe"
    )
    pieces: int = setting(
        "how many at most; of bpe and unigram 256 are bytes, and all have an end of a document",
        8000,
        low=258,
        high=MOST,
    )
    least_count: int = setting(
        "times that a pair must stand in the training text to become a piece (not of unigram)",
        2,
        low=1,
    )
    normal_form: normal_forms.Form | None = setting(normal_forms.MEANING, None)
    lower_case: bool = setting("capitals are lost", False)
    strip_accents: bool = setting(
        "accents are lost; of texts in NFD or NFKD: combining marks of any script", False
    )


def learn(config: Config, texts: Iterable[str]) -> bytes:
    """The tokenizer.json. Raises UserError without the library, or where it refuses the text."""
    library = extras.imported("tokenizers", "tokenizers", WHERE)
    tokenizer = _untrained(config, library)
    # The library would print progress bars and warnings of its own.
    try:
        tokenizer.train_from_iterator(iter(texts), _trainer(config, library))
    except Exception as error:  # noqa: BLE001 - the library's errors have no type of their own
        raise UserError(f"{WHERE}: cannot be learnt from this text ({error})") from None
    facts = json.loads(tokenizer.to_str())
    return json.dumps(facts | {"model": _ordered(facts["model"])}, ensure_ascii=False).encode()


def make(config: Config, learnt: bytes) -> Codec:
    """The tokenizer of what was learnt. Raises UserError without the library, and for a file that
    another tokenizer has learnt.
    """
    del config
    codec = hugging_face.codec(learnt, WHERE, END, normalised=True)
    return codec._replace(identity=codec.identity.replace("hugging_face", "hugging_face_learnt", 1))


def _untrained(config: Config, library: Any) -> Any:
    """The library's tokenizer, which knows no piece yet."""
    if config.kind == "wordpiece":
        tokenizer = library.Tokenizer(library.models.WordPiece(unk_token=UNKNOWN))
        tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = library.decoders.WordPiece()
    else:
        model = library.models.BPE() if config.kind == "bpe" else library.models.Unigram()
        tokenizer = library.Tokenizer(model)
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
    forms = library.normalizers
    steps = [getattr(forms, config.normal_form)()] if config.normal_form else []
    steps += [forms.Lowercase()] if config.lower_case else []
    steps += [forms.StripAccents()] if config.strip_accents else []
    if steps:
        tokenizer.normalizer = forms.Sequence(steps)
    return tokenizer


def _trainer(config: Config, library: Any) -> Any:
    trainers = library.trainers
    shared = {"vocab_size": config.pieces, "show_progress": False}
    if config.kind == "wordpiece":
        return trainers.WordPieceTrainer(
            special_tokens=[UNKNOWN, END], min_frequency=config.least_count, **shared
        )
    shared |= {
        "special_tokens": [END],
        "initial_alphabet": sorted(library.pre_tokenizers.ByteLevel.alphabet()),
    }
    if config.kind == "bpe":
        return trainers.BpeTrainer(min_frequency=config.least_count, **shared)
    return trainers.UnigramTrainer(**shared)


def _ordered(model: dict[str, Any]) -> dict[str, Any]:
    """The model in an order, and with scores, that are the same whenever it is learnt again.

    The library numbers a WordPiece's entries as its hash tables have them, and lowers the scores of
    the letters that a unigram must keep in that order too; sums over threads end in other digits.
    """
    vocab = model["vocab"]
    if isinstance(vocab, list):
        long = [score for piece, score in vocab if len(piece) > 1 and piece != END]
        lowest = min(long, default=0.0)
        required = {piece for piece, score in vocab if len(piece) == 1 and score < lowest}
        scored = [
            (piece, round(lowest - 10.0 if piece in required else score, 6))
            for piece, score in vocab
        ]
        return model | {"vocab": sorted(scored, key=lambda item: (-item[1], item[0]))}
    if model["type"] != "WordPiece":
        return model
    special = [UNKNOWN, END]
    names = [*special, *sorted(piece for piece in vocab if piece not in special)]
    return model | {"vocab": {piece: number for number, piece in enumerate(names)}}


TOKENIZER = Tokenizer(
    Config, make, learn, exported=lambda config, learnt: json.loads(learnt.decode())
)
