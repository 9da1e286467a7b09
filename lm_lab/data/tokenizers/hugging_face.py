"""A byte-level BPE of the Hugging Face hub (GPT-2's, LLaMA 3's, Qwen's), read from its tokenizer.json.

Its special tokens are never made of text, and text is taken as it is: what the file says of Unicode normal forms is
left out, so that every text comes back. Needs the `tokenizers` library, an extra.
"""

import dataclasses
import hashlib
import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from lm_lab.data.tokenizer import Tokenizer
from lm_lab.data.tokenizers import byte
from lm_lab.schema import setting
from lm_lab.types import UserError

ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<|eot_id|>", "<|im_end|>")  # in this order, where none is named


@dataclasses.dataclass(frozen=True)
class Config:
    """Which tokenizer."""

    tokenizer_file: str = setting("path of a tokenizer.json", names_file=True)
    end_token: str | None = setting("what ends a document; None: the usual names, in turn", None)


def make(config: Config) -> Tokenizer:
    """The tokenizer of the file. Raises UserError where it is missing or no byte-level BPE."""
    path = Path(config.tokenizer_file)
    try:
        content = path.read_bytes()
        facts = json.loads(content)
        _check(facts)
        texts = _texts(facts)
        end = _end(facts, config.end_token)
    except OSError as error:
        raise UserError(f"config.data.tokenizer_file {path}: cannot read: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"config.data.tokenizer_file {path}: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"config.data.tokenizer_file {path}: not a tokenizer.json ({error})") from None
    encoder = _encoder(path, facts)
    dtype = np.min_scalar_type(len(texts) - 1)
    texts[end] = b""

    def encode(text: str) -> np.ndarray:
        return np.array(encoder.encode(text, add_special_tokens=False).ids, dtype)

    def decode(ids: Any) -> str:
        return b"".join(texts[number] for number in np.asarray(ids).ravel().tolist()).decode(errors="replace")

    words = np.array([_word(text) for text in texts], np.uint8)
    ends = np.array([text[-1:] in (b".", b"!", b"?", b"\n") for text in texts])
    ends[end] = True
    bytes_of = np.array([len(text) for text in texts], np.uint16)
    identity = f"hugging_face-{hashlib.sha256(content).hexdigest()[:32]}-{end}"
    return Tokenizer(identity, len(texts), end, bytes_of, words, ends, encode, decode)


def _check(facts: dict[str, Any]) -> None:
    parts = facts["pre_tokenizer"] or {}
    levels = [part for part in parts.get("pretokenizers", [parts]) if part.get("type") == "ByteLevel"]
    if facts["model"].get("type", "BPE") != "BPE" or not levels:
        raise UserError("not a byte-level BPE, whose ids stand for a known number of bytes; choose another tokenizer")
    if any(level.get("add_prefix_space") for level in levels):
        raise UserError("add_prefix_space puts a space before every text; choose another tokenizer")


def _texts(facts: dict[str, Any]) -> list[bytes]:
    """What each id stands for: nothing where it is special, or no token at all."""
    letters = _letters()
    found = {number: bytes(letters[letter] for letter in token) for token, number in facts["model"]["vocab"].items()}
    for token in facts.get("added_tokens") or ():
        found[token["id"]] = b"" if token["special"] else token["content"].encode()
    return [found.get(number, b"") for number in range(max(found) + 1)]


def _letters() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for: printable ones for themselves, the others, in
    order, for what follows Latin-1."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [value for value in range(256) if value not in plain]
    return {chr(value): value for value in plain} | {chr(256 + place): value for place, value in enumerate(others)}


def _end(facts: dict[str, Any], named: str | None) -> int:
    """The id that ends a document."""
    special = {token["content"]: token["id"] for token in facts.get("added_tokens") or () if token["special"]}
    for token in ENDS if named is None else (named,):
        if token in special:
            return special[token]
    raise UserError(f"config.data.end_token: none of its special tokens is {named or 'a usual end'}; name one of them")


def _word(text: bytes) -> int:
    """What Tokenizer.words says of a piece: 2 where a space stands before its first letter."""
    inner = text.lstrip(b" ")
    if not inner or not byte.WORDS[inner[0]]:
        return 0
    return 2 if inner != text else 1


def _encoder(path: Path, facts: dict[str, Any]) -> Any:
    """The library's tokenizer, which sees special tokens in no text."""
    if importlib.util.find_spec("tokenizers") is None:
        raise UserError("config.data.tokenizer hugging_face needs the tokenizers library; install lm_lab[interop]")
    plain = [token for token in facts.get("added_tokens") or () if not token["special"]]
    known = facts | {"added_tokens": plain, "normalizer": None, "post_processor": None, "truncation": None}
    library = importlib.import_module("tokenizers")
    try:
        return library.Tokenizer.from_str(json.dumps(known | {"padding": None}))
    except Exception as error:  # noqa: BLE001 - the library's errors have no type of their own
        raise UserError(f"config.data.tokenizer_file {path}: the tokenizers library refuses it: {error}") from None
