"""What a tokenizer.json of the Hugging Face library `tokenizers` says of tokenizers that are learnt
here, so that other programs cut text into the same ids.
"""

from collections.abc import Sequence
from typing import Any

END = "<|endoftext|>"
SPACE = "\u2581"
# A text that spells a special piece is cut behind its first letter, so that it is not that piece.
NO_PIECE = r"<(?=unk>|0x[0-9A-F]{2}>)"


def letters() -> dict[str, int]:
    """The byte of each letter of a byte-level vocabulary.

    Printable bytes stand for themselves; the others, in order, are the letters after Latin-1.
    """
    plain = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [value for value in range(256) if value not in plain]
    return {chr(value): value for value in plain} | {
        chr(256 + place): value for place, value in enumerate(others)
    }


def of_bytes() -> dict[str, Any]:
    """Of UTF-8 bytes, and after them the end of a document."""
    model = _byte_pairs(letters(), [])
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    return _facts(model, 256, pre_tokenizer=level, decoder=level)


def of_pieces(
    pieces: Sequence[str],
    scores: Sequence[float],
    unknown: int,
    found: Sequence[bool],
    *,
    bpe: bool,
    byte_fallback: bool,
    normal_form: str | None,
) -> dict[str, Any]:
    """Of SentencePiece's pieces, and after them the end of a document.

    `found` says which pieces a text may hold: not bytes and special ones. Of BPE the ids of a text
    are the same; of unigram too, but where two ways to cut it are equally likely.
    """
    cut = None
    if bpe:
        names = {piece for piece, is_found in zip(pieces, found, strict=True) if is_found}
        longer = [place for place, piece in enumerate(pieces) if piece in names and len(piece) > 1]
        merges = [
            [piece[:cut], piece[cut:]]
            for piece in (pieces[place] for place in sorted(longer, key=lambda p: -scores[p]))
            for cut in range(1, len(piece))
            if piece[:cut] in names and piece[cut:] in names
        ]
        ids = {piece: place for place, piece in enumerate(pieces)}
        model = _byte_pairs(ids, merges) | {"unk_token": pieces[unknown], "fuse_unk": True}
    else:
        scored = [[piece, score] for piece, score in zip(pieces, scores, strict=True)]
        model = {"type": "Unigram", "unk_id": unknown, "vocab": scored}
        cut = {"type": "Split", "pattern": {"Regex": NO_PIECE}, "invert": False}
        cut["behavior"] = "MergedWithPrevious"
    form = [{"type": normal_form}] if normal_form else []
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    back = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    return _facts(
        model | {"byte_fallback": byte_fallback},
        len(pieces),
        normalizer={"type": "Sequence", "normalizers": [*form, spaces]},
        pre_tokenizer=cut,
        decoder={
            "type": "Sequence",
            "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}],
        },
    )


def _byte_pairs(ids: dict[str, int], merges: list[list[str]]) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": ids,
        "merges": merges,
    }


def _facts(model: dict[str, Any], end: int, **steps: Any) -> dict[str, Any]:
    token = {"id": end, "content": END, "special": True}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [token | plain],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        **steps,
        "model": model,
    }
