"""A byte-level BPE in tiktoken's form: a .tiktoken file (each line a token in base64 and its rank),
and the regular expression that cuts text before pairs are merged.

decode(encode(text)) is the text. Needs the `tiktoken` library, an extra.
"""

import base64
import binascii
import dataclasses
import hashlib
import itertools
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from lm_lab.contracts import Tokenizer
from lm_lab.data import extras
from lm_lab.data.subword import as_arrays
from lm_lab.data.tokenizers import _files, byte
from lm_lab.data.tokenizers.hugging_face import begins_word
from lm_lab.schema import setting, suggest
from lm_lab.types import Codec, Encoder, UserError

KEY = "config.data.tokenizer.tokenizer_file"
CHUNK = 256  # texts that a thread encodes at a time

_R50K = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
_CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    rf"{_SHORT}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# name -> (expression, the published id of <|endoftext|>)
PATTERNS = {
    "r50k": (_R50K, 50256),
    "p50k": (_R50K, 50256),
    "cl100k": (_CL100K, 100257),
    "o200k": (_O200K, 199999),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Which tokenizer."""

    tokenizer_file: str = setting("path of a .tiktoken file", names_file=True)
    pattern: str = setting(
        "what cuts a text into pieces: r50k, p50k, cl100k or o200k as published, or a regular "
        "expression; a character that it leaves out is a piece of its own",
        "cl100k",
    )
    end_id: int | None = setting(
        "the id that ends a document, which no token has; None: the published one, or the first "
        "that is free",
        None,
        low=0,
    )


def make(config: Config, learnt: bytes = b"") -> Codec:
    """The tokenizer of the file. Raises UserError if it is missing or damaged, or the pattern is no
    regular expression.
    """
    where = f"{KEY} {config.tokenizer_file}"
    library = extras.imported("tiktoken", "tokenizers", where)
    content = _files.content(where, config.tokenizer_file)
    ranks = _ranks(where, content)
    pattern, end = _pattern(config, ranks)
    try:
        core = library.Encoding(
            "lm_lab", pat_str=rf"{pattern}|[\s\S]", mergeable_ranks=ranks, special_tokens={}
        )
    except ValueError as error:
        raise UserError(f"config.data.tokenizer.pattern: no regular expression ({error})") from None
    texts = _files.texts_of_ids(where, {rank: text for text, rank in ranks.items()} | {end: b""})
    _check_gaps(where, {*ranks.values(), end})
    dtype = np.min_scalar_type(len(texts) - 1)

    def encode(text: str) -> np.ndarray:
        return np.array(core.encode_ordinary(text), dtype)

    def encode_some(inputs: Sequence[str]) -> list[list[int]]:
        return [core.encode_ordinary(text) for text in inputs]

    def encode_all(inputs: Sequence[str]) -> list[np.ndarray]:
        starts = range(0, len(inputs), CHUNK)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            chunks = pool.map(encode_some, [inputs[first : first + CHUNK] for first in starts])
            return as_arrays(itertools.chain.from_iterable(chunks), dtype)

    def decode(ids: Any) -> str:
        flat = np.asarray(ids).ravel().tolist()
        return b"".join(texts[number] for number in flat if number < len(texts)).decode(
            errors="replace"
        )

    ends = np.array([byte.ends_sentence(text) for text in texts])
    ends[end] = True
    facts = hashlib.sha256(content).hexdigest()[:32], hashlib.sha256(pattern.encode()).hexdigest()
    return Codec(
        f"tiktoken-{facts[0]}-{facts[1][:16]}-{end}",
        len(texts),
        end,
        np.array([len(text) for text in texts], np.uint16),
        np.array([begins_word(text) for text in texts], np.uint8),
        ends,
        Encoder(encode, encode_all),
        decode,
    )


def _ranks(where: str, content: bytes) -> dict[bytes, int]:
    """The rank, which is the id, of every token."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line:
            continue
        try:
            token, rank = line.split()
            text, rank_of_text = base64.b64decode(token, validate=True), int(rank)
        except (ValueError, binascii.Error):
            raise UserError(
                f"{where}: line {number} is not a token in base64 and its rank; {_files.AGAIN}"
            ) from None
        if text in ranks:
            raise UserError(
                f"{where}: line {number} has the token of rank {ranks[text]} again; {_files.AGAIN}"
            )
        ranks[text] = rank_of_text
    _files.check_bytes(where, ranks, range(256))
    if min(ranks.values()) < 0 or len(set(ranks.values())) < len(ranks):
        raise UserError(f"{where}: two tokens have one rank, or one is negative; {_files.AGAIN}")
    return ranks


def _check_gaps(where: str, used_ids: set[int]) -> None:
    """Raises UserError for a rank that no token has, as in a file that lost a line; that of
    end_of_document is used.
    """
    if missing := sorted(set(range(max(used_ids))) - used_ids):
        raise UserError(
            f"{where}: no token has the rank {missing[0]}; {_files.AGAIN}, or, if that is the id "
            "of its special token, name it in config.data.tokenizer.end_id"
        )


def _pattern(config: Config, ranks: dict[bytes, int]) -> tuple[str, int]:
    """(the regular expression, the id of end_of_document). Raises UserError for an id in use."""
    used_ids = set(ranks.values())
    if config.pattern not in PATTERNS and re.fullmatch(r"\w+", config.pattern):
        names = suggest(config.pattern, list(PATTERNS))
        raise UserError(f"config.data.tokenizer.pattern: no pattern {config.pattern!r}; {names}")
    pattern, end = PATTERNS.get(config.pattern, (config.pattern, -1))
    if config.end_id is not None:
        end = config.end_id
    elif end < 0 or end in used_ids or end > 2 * len(used_ids):
        end = max(used_ids) + 1
    if end in used_ids:
        raise UserError(f"config.data.tokenizer.end_id: {end} is a token's; choose another")
    return pattern, end


TOKENIZER = Tokenizer(Config, make)
