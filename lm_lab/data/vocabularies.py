"""What tokenizers learn from a text: learnt once, kept beside the token stores, and found by the
text's fingerprint.

<cache>/vocabularies/<key>     SHA-256 in hex of what the tokenizer's `learn` returned, a space and
                               the tokenizer's name (not in files of the first releases), a
                               newline, and what it returned
"""

import dataclasses
import hashlib
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lm_lab import registry
from lm_lab.data.documents import Corpus, digest, errors_at
from lm_lab.data.splits import HELDOUT, TRAIN, Rule, scan
from lm_lab.data.store import cache_directory
from lm_lab.runs import durable, reading
from lm_lab.types import Codec, UserError

SAID_BYTES = 1_000_000  # of text; learning from more takes seconds, without a sign of life
WRITTEN = "name that of a run's directory, or one that lm-lab tokenize --out has written"


def tokenizer(
    name: str,
    config: Any,
    corpora: Sequence[Corpus],
    rule: Rule,
    learnt_file: str | None = None,
) -> Codec:
    """The tokenizer of this name; one that learns is trained on the training text of the corpora
    (all of a stream whose end is held out), or reads `learnt_file`, which an earlier one wrote.

    Raises UserError as the source does, and where the cache cannot be written, or the file not be
    read.
    """
    maker = registry.load("data.tokenizers", name, "config.data.tokenizer")
    if maker.learn is None:
        return _whole(name, maker.make(config, b""))
    path = Path(learnt_file) if learnt_file else learnt(name, config, corpora, rule)
    known = content(name, path, is_named=learnt_file is not None)
    try:
        return _whole(name, maker.make(config, known))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"config.data.vocabulary_file {path} is none of the tokenizer {name!r} "
            f"({type(error).__name__}: {error}); name another"
        ) from None


def content(name: str, path: Path, *, is_named: bool) -> bytes:
    """What the tokenizer of this name has learnt, from a file that `learnt` wrote; `is_named` says
    whether a config names it. Raises UserError where it cannot be read, is damaged or another's.
    """
    vocabulary = _read(path)
    if vocabulary is None:
        raise UserError(f"config.data.vocabulary_file {path}: cannot be read; {WRITTEN}")
    if vocabulary.is_damaged:
        raise UserError(
            f"config.data.vocabulary_file {path}: damaged, or not written by lm-lab; {WRITTEN}"
            if is_named
            else f"the vocabulary {path} is damaged; delete it and run again"
        )
    if vocabulary.tokenizer not in (name, ""):
        raise UserError(
            f"config.data.vocabulary_file {path} was learnt by the tokenizer "
            f"{vocabulary.tokenizer!r}, and config.data.tokenizer is {name!r}; name that one"
        )
    return vocabulary.content


def learnt(name: str, config: Any, corpora: Sequence[Corpus], rule: Rule) -> Path:
    """The file of what a tokenizer learns from corpora, written first if need be. Raises UserError
    as `tokenizer`.
    """
    prints = [corpus.fingerprint for corpus in corpora]
    maker = registry.load("data.tokenizers", name, "config.data.tokenizer")
    assert maker.learn is not None
    facts = {
        "tokenizer": name,
        "config": dataclasses.asdict(config),
        "text": prints[0] if len(prints) == 1 else prints,
        "rule": (rule.split, rule.fraction),
        "version": maker.version,
        **rule.facts,
    }
    path = (
        cache_directory().with_name("vocabularies")
        / digest([json.dumps(facts, sort_keys=True)])[:32]
    )
    if not path.exists():
        sides, size = [], 0
        for corpus in corpora:
            with errors_at(corpus.key):
                scanned = scan(corpus.read, rule, corpus.form)
            sides.append(scanned.sides)
            size += int(scanned.info.bytes[scanned.sides == TRAIN].sum())
        if size >= SAID_BYTES:
            print(
                f"The tokenizer {name!r} learns from {size / 1e6:,.1f} MB of text",
                file=sys.stderr,
                flush=True,
            )
        content = maker.learn(config, _texts(corpora, sides, TRAIN))
        if not isinstance(content, bytes):
            raise UserError(
                f"config.data.tokenizer: learn of {name!r} gives a {type(content).__name__}, not "
                "bytes"
            )
        _write(path, name, content)
        if maker.unknown is not None:
            judged = (
                HELDOUT
                if any((corpus_splits == HELDOUT).any() for corpus_splits in sides)
                else TRAIN
            )
            texts = [_texts(corpora, sides, side) for side in (TRAIN, judged)]
            _warn(name, *(maker.unknown(config, content, side) for side in texts))
    return path


def _whole(name: str, codec: Any) -> Codec:
    """Checks what a tokenizer's `make` returned. Raises UserError for anything but a Codec with
    tables of its size.
    """
    if not isinstance(codec, Codec):
        problem = f"gives a {type(codec).__name__}, not a lm_lab.types.Codec"
        raise UserError(f"config.data.tokenizer: {name!r} has a make that {problem}; return one")
    tables = {
        "bytes_of": codec.bytes_of,
        "words": codec.words,
        "sentence_ends": codec.sentence_ends,
    }
    for field, table in tables.items():
        if len(table) != codec.vocab:
            raise UserError(
                f"config.data.tokenizer: {field} of {name!r} has {len(table)} entries for "
                f"{codec.vocab} ids"
            )
    if not 0 <= codec.end_of_document < codec.vocab:
        raise UserError(
            f"config.data.tokenizer: end_of_document of {name!r} is none of its {codec.vocab} ids"
        )
    return codec


def _warn(name: str, training: tuple[int, int], held_out: tuple[int, int]) -> None:
    """Says on stderr what share of the words, (unknown, all), is unknown, and whether training sees
    any such.
    """
    missing, count = held_out
    if not missing:
        return
    message = (
        f"config.data.tokenizer {name!r}: {100 * missing / count:.3g} % of the held-out text's "
        f"{name} are unknown"
    )
    if not training[0]:
        message += (
            ", and none of the training text's: how they are spelt is never trained; raise "
            "config.data.tokenizer.least_count"
        )
    print(message, file=sys.stderr, flush=True)


def _texts(corpora: Sequence[Corpus], sides: Sequence[np.ndarray], side: int) -> Iterator[str]:
    """The texts and targets of the documents of one split; `sides` has the splits of each corpus,
    u8[n].
    """
    pairs = (zip(corpus.read(), split) for corpus, split in zip(corpora, sides))
    for document, split in itertools.chain.from_iterable(pairs):
        if split == side:
            yield document.text
            if document.target is not None:
                yield document.target


class _File(NamedTuple):
    """The content of a vocabulary file."""

    tokenizer: str  # the name of the one that has learnt it; "" in files of the first releases
    content: bytes
    is_damaged: bool  # the content is not what the head of the file says


def _read(path: Path) -> _File | None:
    try:
        head, _, content = reading.read_bytes(path).partition(b"\n")
    except OSError:
        return None
    sha256, _, name = head.partition(b" ")
    is_damaged = hashlib.sha256(content).hexdigest().encode() != sha256
    return _File(name.decode(errors="replace"), content, is_damaged)


def _write(path: Path, name: str, content: bytes) -> None:
    head = f"{hashlib.sha256(content).hexdigest()} {name}\n"
    try:
        durable.make_folder(path.parent)
        durable.replace(path, head.encode() + content)
    except OSError as error:
        raise UserError(
            f"cannot write the vocabulary {path} ({error.strerror}); set LM_LAB_CACHE to a folder "
            "that is writable"
        ) from None
