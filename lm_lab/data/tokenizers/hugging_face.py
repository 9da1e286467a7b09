"""A tokenizer of the Hugging Face hub, read from its tokenizer.json, or from vocab.txt (BERT's) or
vocab.json beside merges.txt (GPT-2's).

Text never becomes special tokens. A byte-level BPE (GPT-2's, LLaMA 3's, Qwen's) takes text as it
is, unless `normalised` is set: normal forms that the file asks for are ignored, so that
decode(encode(text)) is the text. The others (WordPiece, Unigram, BPE with spaces as U+2581) return
normalised text, and count the bytes of that, with a space before each word, also the first (behind
it, also the last, where the file marks the ends of words, as GPT-1's and CLIP's do). Dropout of
merges is off: a text has the same ids at every call. Needs the `tokenizers` library, an extra.
"""

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lm_lab.contracts import Tokenizer
from lm_lab.data import extras
from lm_lab.data.subword import as_arrays
from lm_lab.data.tokenizers import _entries, _files, _library, byte
from lm_lab.runs import reading
from lm_lab.schema import setting
from lm_lab.types import Codec, Encoder, UserError

ENDS = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<|eot_id|>",
    "<|im_end|>",
)  # tried in this order if no end token is named
MASKS = ("<mask>", "[MASK]")
KEY = "config.data.tokenizer.tokenizer_file"
MEND = "mend it, or fetch it again"


@dataclasses.dataclass(frozen=True)
class Config:
    """Which tokenizer."""

    tokenizer_file: str = setting(
        "path of a tokenizer.json, a vocab.txt, or a vocab.json with its merges.txt",
        names_file=True,
    )
    end_token: str | None = setting("what ends a document; None: the usual names, in turn", None)
    framed: bool = setting(
        "a text begins with the special tokens that the file puts before it, as <s>", False
    )
    normalised: bool = setting(
        "a byte-level tokenizer applies the file's normaliser; False: texts are taken as they are",
        False,
    )


class Library(NamedTuple):
    """The library's tokenizer without special tokens, and the ids that frame a text."""

    plain: Any
    begin: list[int]  # ids that its template puts before a text
    end: list[int]  # and after it


def make(config: Config, learnt: bytes = b"") -> Codec:
    """The tokenizer of the file. Raises UserError if it is missing or of an unknown kind."""
    path = Path(config.tokenizer_file)
    made = codec(
        _content(path),
        f"{KEY} {path}",
        config.end_token,
        framed=config.framed,
        normalised=config.normalised,
    )
    return made._replace(identity=f"{made.identity}-normalised") if config.normalised else made


def codec(
    content: bytes,
    where: str,
    end_token: str | None = None,
    *,
    framed: bool = False,
    normalised: bool = False,
) -> Codec:
    """The tokenizer of a tokenizer.json. A byte-level one ignores the file's normaliser, unless
    `normalised` is set.

    Raises UserError, which begins with `where`, for a content of another kind.
    """
    facts, is_bytes, special, texts = _opened(content, where)
    with _said(where):
        library = _opened_by_library(facts, is_bytes and not normalised)
        end = _end(special, end_token, library.end)
    # The library's decoder moves spaces around signs, so that bytes would not add up.
    by_words = facts["model"].get("type") == "WordPiece"
    outer = _entries.outer_space(facts["model"])
    dtype = np.min_scalar_type(len(texts) - 1)
    texts[end] = b""
    hidden = {number for number, text in enumerate(texts) if not text}

    def encode(text: str) -> np.ndarray:
        return np.array(begin + library.plain.encode(text, add_special_tokens=False).ids, dtype)

    def encode_all(inputs: Sequence[str]) -> list[np.ndarray]:
        tokenizer = library.plain.encode_batch_fast(list(inputs), add_special_tokens=False)
        return as_arrays((begin + part.ids if begin else part.ids for part in tokenizer), dtype)

    def decode(ids: Any) -> str:
        visible = [
            number
            for number in np.asarray(ids).ravel().tolist()
            if number < len(texts) and number not in hidden
        ]
        if not (is_bytes or by_words):
            return library.plain.decode(visible)
        return outer(b"".join(texts[number] for number in visible).decode(errors="replace"))

    begin = [number for number in library.begin if number != end] if framed else []
    word_starts = np.array([begins_word(text) for text in texts], np.uint8)
    ends = np.array([byte.ends_sentence(text) for text in texts])
    ends[end] = True
    bytes_of = np.array([len(text) for text in texts], np.uint16)
    identity = (
        f"hugging_face-{hashlib.sha256(content).hexdigest()[:32]}-{end}{'-framed' if begin else ''}"
    )
    mask = next((special[name] for name in MASKS if name in special), None)
    tokenizer = Codec(
        identity, len(texts), end, bytes_of, word_starts, ends, Encoder(encode, encode_all), decode
    )
    stray = texts.index(b"\xff") if not is_bytes and b"\xff" in texts else None
    return tokenizer._replace(
        mask=mask,
        stray=stray,
        sentinels=sentinels(special),
        unknown=_unknown(facts, len(texts)),
    )


@contextlib.contextmanager
def _said(where: str) -> Iterator[None]:
    """Turns errors of a faulty file into a UserError that begins with `where`."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        raise UserError(f"{where}: not a tokenizer.json ({why:.200}); {_files.AGAIN}") from None


def _opened(content: bytes, where: str) -> tuple[dict[str, Any], bool, dict[str, int], list[bytes]]:
    """(the content as JSON, whether letters stand for bytes, ids of special tokens, text of each
    id).
    """
    with _said(where):
        facts = json.loads(content)
        is_bytes = _is_byte_level(facts)
        special = {t["content"]: t["id"] for t in facts.get("added_tokens") or () if t["special"]}
        texts = _entries.texts(facts, _library.letters() if is_bytes else None)
    if is_bytes:
        _files.check_bytes(where, texts.values(), byte.IN_UTF8)
    return facts, is_bytes, special, _files.texts_of_ids(where, texts)


def _unknown(facts: dict[str, Any], vocab: int) -> np.ndarray:
    """bool[vocab]: the unknown token, and the bytes of a model that falls back on them."""
    model = facts["model"]
    is_unknown = np.zeros(vocab, bool)
    pieces = model["vocab"]
    listed = isinstance(pieces, list)
    names = [piece for piece, _ in pieces] if listed else list(pieces)
    if model.get("byte_fallback"):
        spelling = [name for name in names if re.fullmatch(r"<0x[0-9A-F]{2}>", name)]
        is_unknown[[names.index(name) if listed else pieces[name] for name in spelling]] = True
    unknown = model.get("unk_id") if listed else pieces.get(model.get("unk_token"))
    if unknown is not None:
        is_unknown[unknown] = True
    return is_unknown


def sentinels(special: dict[str, int]) -> tuple[int, ...]:
    """T5's ids of hidden spans, <extra_id_0>, <extra_id_1>, ..., up to the first gap."""
    numbers = [re.fullmatch(r"<extra_id_(\d+)>", name) for name in special]
    ids_by_number = {int(match[1]): special[match[0]] for match in numbers if match}
    return tuple(
        ids_by_number[number] for number in range(len(ids_by_number)) if number in ids_by_number
    )


def _content(path: Path) -> bytes:
    """The tokenizer.json, or the library's conversion of an older form."""
    older = {"vocab.txt": _word_piece, "vocab.json": _byte_pairs}
    if path.name not in older:
        return _files.content(f"{KEY} {path}", path)
    try:
        return older[path.name](path).to_str().encode()
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - the library's errors have no type of their own
        why = f"{type(error).__name__}: {error}"
        raise UserError(f"{KEY} {path}: cannot be read ({why:.200}); {_files.AGAIN}") from None


def _word_piece(path: Path) -> Any:
    """BERT's form: vocab.txt, and tokenizer_config.json if there is one."""
    settings_file = path.with_name("tokenizer_config.json")
    settings = reading.read_object(settings_file, MEND) if settings_file.exists() else {}
    lines = _files.content(f"{KEY} {path}", path).decode().replace("\r\n", "\n")
    pieces = lines.removesuffix("\n").split("\n")
    ids = {piece: number for number, piece in enumerate(pieces)}
    if missing := [name for name in ("[UNK]", "[CLS]", "[SEP]") if name not in ids]:
        raise UserError(f"{KEY} {path}: no {missing[0]} in it; give another file")
    lower = settings.get("do_lower_case", True)
    # The constructor adds the special tokens, and the frame [CLS] text [SEP].
    return extras.imported("tokenizers", "tokenizers", KEY).implementations.BertWordPieceTokenizer(
        ids,
        lowercase=lower,
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )


def _byte_pairs(path: Path) -> Any:
    """GPT-2's form: a vocabulary and merges."""
    library = extras.imported("tokenizers", "tokenizers", KEY)
    vocab = reading.read_object(path, MEND)
    merges_file = path.with_name("merges.txt")
    merges = _files.content(f"{KEY} {merges_file}", merges_file).decode().splitlines()
    pairs = [tuple(line.split(" ")) for line in merges if line and not line.startswith("#version")]
    tokenizer = library.implementations.ByteLevelBPETokenizer(vocab, pairs)
    tokenizer.add_special_tokens(
        [name for name in (*ENDS, "<s>", "<pad>", "<unk>", "<mask>") if name in vocab]
    )
    if "<s>" in vocab and "</s>" in vocab:  # BART's and RoBERTa's
        ends = [(name, vocab[name]) for name in ("</s>", "<s>")]
        tokenizer.post_processor = library.processors.RobertaProcessing(
            *ends, add_prefix_space=False
        )
    return tokenizer


def _is_byte_level(facts: dict[str, Any]) -> bool:
    """Whether its letters stand for bytes. Raises UserError for a kind that is not supported."""
    parts = facts["pre_tokenizer"] or {}
    levels = [
        part for part in parts.get("pretokenizers", [parts]) if part.get("type") == "ByteLevel"
    ]
    if any(level.get("add_prefix_space") for level in levels):
        raise UserError("add_prefix_space puts a space before every text; choose another tokenizer")
    kind = facts["model"].get("type", "BPE")
    if levels and kind in ("BPE", "Unigram"):
        return True
    if levels or kind not in ("BPE", "Unigram", "WordPiece"):
        raise UserError(f"a {kind} of this form is not supported; known: BPE, Unigram, WordPiece")
    if kind == "BPE" and facts["model"].get("continuing_subword_prefix"):
        raise UserError("a BPE with continuing_subword_prefix is not supported; choose another")
    decoder = facts.get("decoder")
    if decoder is None or "ByteLevel" in json.dumps(decoder):
        raise UserError(
            "not a byte-level BPE, and no decoder says what its ids stand for; choose another "
            "tokenizer"
        )
    return False


def _end(special: dict[str, int], named: str | None, after: list[int]) -> int:
    """The id that ends a document: the named one, a usual one, or
    the one that the template appends.
    """
    for token in ENDS if named is None else (named,):
        if token in special:
            return special[token]
    if named is None and after:
        return after[-1]
    raise UserError(
        f"config.data.tokenizer.end_token: none of its special tokens is {named or 'a usual end'}; "
        "name one of them"
    )


def begins_word(text: bytes) -> int:
    """The entry of Codec.words: 2 if a space stands before the first letter."""
    inner = text.lstrip(b" ")
    if not inner or not byte.WORDS[inner[0]]:
        return 0
    return 2 if inner != text else 1


def _opened_by_library(facts: dict[str, Any], as_it_is: bool) -> Library:
    """The library's tokenizer of the file, without its normaliser where text is taken as it is.

    Raises UserError if the library refuses it.
    """
    library = extras.imported("tokenizers", "tokenizers", "it")
    full = facts | {"truncation": None, "padding": None}
    added = facts.get("added_tokens") or ()
    plain: dict[str, Any] = full | {
        "added_tokens": [token for token in added if not token["special"]],
        "post_processor": None,
    }
    if not _is_byte_pairs(facts):
        plain["model"] = _unspoken(facts["model"], added)
    if as_it_is:
        plain["normalizer"] = None
    if plain["model"].get("dropout"):  # a text would have other ids at every call
        plain["model"] = plain["model"] | {"dropout": None}
    try:
        probe = library.Tokenizer.from_str(json.dumps(full)).encode("a")
        encoder = library.Tokenizer.from_str(json.dumps(plain))
    except Exception as error:  # noqa: BLE001 - the library's errors have no type of their own
        raise UserError(
            f"the tokenizers library refuses it: {error!s:.200}; {_files.AGAIN}"
        ) from None
    text_places = [place for place, special in enumerate(probe.special_tokens_mask) if not special]
    cut = (text_places[0], text_places[-1] + 1) if text_places else (len(probe.ids), len(probe.ids))
    return Library(encoder, probe.ids[: cut[0]], probe.ids[cut[1] :])


def _is_byte_pairs(facts: dict[str, Any]) -> bool:
    """Whether it is BPE, whose merges never lead from text to a special token."""
    return facts["model"].get("type", "BPE") == "BPE" and _is_byte_level(facts)


def _unspoken(model: dict[str, Any], added: Any) -> dict[str, Any]:
    """Renames the model's special entries to names that occur in no text.

    A Unigram would otherwise find "</s>" in a text. The unknown token keeps its name, because the
    model refers to it.
    """
    hidden = {token["content"]: f"\ufdd0{token['id']}\ufdd1" for token in added if token["special"]}
    hidden.pop(str(model.get("unk_token")), None)
    vocab = model["vocab"]
    if isinstance(vocab, list):
        return model | {"vocab": [[hidden.get(piece, piece), score] for piece, score in vocab]}
    return model | {"vocab": {hidden.get(piece, piece): number for piece, number in vocab.items()}}


TOKENIZER = Tokenizer(Config, make)
