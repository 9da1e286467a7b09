"""The text that each entry of a tokenizer.json stands for."""

import re
import string
import unicodedata
from collections.abc import Callable
from typing import Any

from lm_lab.data.tokenizers._library import SPACE


def texts(facts: dict[str, Any], letters: dict[str, int] | None) -> dict[int, bytes]:
    """The text of each id; empty for special ones."""
    model = facts["model"]
    vocab = model["vocab"]
    ids = (
        {piece: number for number, (piece, _) in enumerate(vocab)}
        if isinstance(vocab, list)
        else vocab
    )
    suffix = suffix_of(model)
    if letters is not None:
        text_by_id = {number: _of_letters(piece, letters, suffix) for piece, number in ids.items()}
    elif model.get("type") == "WordPiece":
        prefix = model.get("continuing_subword_prefix", "##")
        text_by_id = {number: _of_word_piece(piece, prefix) for piece, number in ids.items()}
    else:
        fallback = model.get("byte_fallback", False)
        text_by_id = {number: _of_piece(piece, fallback, suffix) for piece, number in ids.items()}
        unknown = model.get("unk_id", ids.get(model.get("unk_token")))
        text_by_id |= {} if unknown is None else {unknown: b""}  # no text of its own
    for token in facts.get("added_tokens") or ():
        text_by_id[token["id"]] = b"" if token["special"] else token["content"].encode()
    return text_by_id


def suffix_of(model: dict[str, Any]) -> str:
    """What marks the end of a word, as "</w>" (GPT-1's, CLIP's)."""
    return model.get("end_of_word_suffix") or ""


def outer_space(model: dict[str, Any]) -> Callable[[str], str]:
    """What leaves out the space before the first word of a joined text, or behind the last one."""
    if model.get("type") == "WordPiece":
        return lambda text: text.removeprefix(" ")
    if suffix_of(model):
        return lambda text: text.removesuffix(" ")
    return lambda text: text


def _of_word_piece(piece: str, goes_on: str) -> bytes:
    """The text of a WordPiece entry: "##x" continues a word, others follow a space.

    Punctuation has no space before it.
    """
    if piece.startswith(goes_on):
        return piece.removeprefix(goes_on).encode()
    alone = len(piece) == 1 and (
        piece in string.punctuation or unicodedata.category(piece).startswith("P")
    )
    return piece.encode() if alone else f" {piece}".encode()


def _of_piece(piece: str, fallback: bool, suffix: str) -> bytes:
    """The text of a SentencePiece entry; <0x41> is a byte, and a suffix the space behind a word."""
    spelt = re.fullmatch(r"<0x([0-9A-F]{2})>", piece) if fallback else None
    text, space = _without(piece, suffix)
    return bytes([int(spelt[1], 16)]) if spelt else text.replace(SPACE, " ").encode() + space


def _of_letters(piece: str, letters: dict[str, int], suffix: str) -> bytes:
    """The bytes that the letters of an entry stand for."""
    text, space = _without(piece, suffix)
    return bytes(letters[letter] for letter in text) + space


def _without(piece: str, suffix: str) -> tuple[str, bytes]:
    """(a piece without the mark of a word's end, the space for which the mark stands)."""
    if suffix and piece.endswith(suffix):
        return piece.removesuffix(suffix), b" "
    return piece, b""
