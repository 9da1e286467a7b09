"""Tokenizes documents into the files of a token store, and splits them into train and held-out."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lm_lab.data.documents import Document
from lm_lab.data.progress import Progress
from lm_lab.data.tokenizer import Tokenizer
from lm_lab.types import UserError

SplitRule = Literal["documents", "tail"]
Documents = Callable[[], Iterator[Document]]
CHANGED = "changed while it was read; run again when it is at rest"


class Known(NamedTuple):
    """What the first reading finds out about a document."""

    sha256: str
    bytes: int


class HashingFile:
    """A file under construction: counts and hashes what it is given, and is on the disk when it is closed."""

    def __init__(self, path: Path) -> None:
        """Creates the file."""
        self._file = path.open("xb")
        self._hash, self.name, self.bytes = hashlib.sha256(), path.name, 0

    def __enter__(self) -> "HashingFile":
        """The file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Flush to the disk and close."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)

    def entry(self) -> dict[str, Any]:
        """The manifest's line on this file."""
        return {"bytes": self.bytes, "sha256": self._hash.hexdigest()}


def write(folder: Path, documents: Documents, tokenizer: Tokenizer, rule: SplitRule, fraction: float) -> dict[str, Any]:
    """Write tokens, byte table and list of documents into an empty folder; returns {"splits", "files"} of the manifest.

    The documents are read twice: once to hash them (which decides the split, and finds mistakes before the work),
    once to tokenize. Raises UserError when there are too few for the split, or when they change between the two.
    """
    known = survey(documents)
    held_out = choose(known, fraction) if rule == "documents" else [False] * len(known)
    names = ("train.tokens", "heldout.tokens") if rule == "documents" else ("all.tokens",)
    dtype = np.min_scalar_type(tokenizer.vocab - 1).newbyteorder("<")
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(HashingFile(folder / name)) for name in names]
        listing = stack.enter_context(HashingFile(folder / "documents.jsonl"))
        table = stack.enter_context(HashingFile(folder / "bytes_of.u16"))
        table.write(tokenizer.bytes_of.astype("<u2").tobytes())
        for index, (entry, ids) in enumerate(tokenize(documents, known, tokenizer)):
            stream = streams[held_out[index]]
            place = {"file": stream.name, "offset": stream.bytes // dtype.itemsize, "tokens": len(ids)}
            listing.write(json.dumps(entry | place).encode() + b"\n")
            stream.write(ids.astype(dtype).tobytes())
    splits = _ranges(streams, dtype.itemsize, fraction)
    totals = {"documents": len(known), "bytes": sum(item.bytes for item in known)}
    return {
        **totals,
        "dtype": dtype.str,
        "splits": splits,
        "files": {f.name: f.entry() for f in (*streams, listing, table)},
    }


def survey(documents: Documents) -> list[Known]:
    """Hash and size of every document."""
    known = []
    with Progress("Reading text") as progress:
        for document in documents():
            data = document.text.encode()
            known.append(Known(hashlib.sha256(data).hexdigest(), len(data)))
            progress.add(len(data))
    return known


def choose(known: list[Known], fraction: float) -> list[bool]:
    """Which documents are held out: those whose hash, as a number in [0, 1), is below `fraction`.

    The text alone decides: a document stays on its side when others come or go or it is renamed, and copies of one
    text never lie on both sides. One text at least goes to each side. Raises UserError when there is only one text.
    """
    hashes = {item.sha256 for item in known}
    if len(hashes) < 2:
        raise UserError(
            "config.data.split: 'documents' needs at least two different documents and the source has "
            f"{len(hashes)}; set config.data.split='tail' to hold out the end of the text"
        )
    lowest, highest = min(hashes), max(hashes)
    limit = int(fraction * 2**64)
    below = {sha: int(sha[:16], 16) < limit for sha in hashes} | {lowest: True, highest: False}
    return [below[item.sha256] for item in known]


def tokenize(
    documents: Documents, known: list[Known], tokenizer: Tokenizer
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """(name, sha256 and bytes for the listing; ids with end_of_document) of every document, as it was surveyed."""
    with Progress("Tokenizing", sum(item.bytes for item in known)) as progress:
        for document, expected in zip(documents(), known):
            if hashlib.sha256(document.text.encode()).hexdigest() != expected.sha256:
                raise UserError(f"config.data.source: {document.name} {CHANGED}")
            entry = {"name": document.name, "sha256": expected.sha256, "bytes": expected.bytes}
            yield entry, np.append(tokenizer.encode(document.text), tokenizer.end_of_document)
            progress.add(expected.bytes)


def _ranges(streams: list[HashingFile], itemsize: int, fraction: float) -> dict[str, Any]:
    """Where each split lies: a file of its own, or a part of the only one."""
    sizes = [stream.bytes // itemsize for stream in streams]
    if len(streams) == 2:
        pairs = zip(("train", "heldout"), streams, sizes)
        return {name: {"file": stream.name, "start": 0, "stop": size} for name, stream, size in pairs}
    # nanoGPT's cut of n characters, int(0.9 n): the end of the last document is not one of them.
    cut = int((1 - fraction) * (sizes[0] - 1))
    if not 0 < cut < sizes[0]:
        raise UserError(
            f"config.data.holdout_fraction: {sizes[0]} tokens cannot be split at {fraction}; give more text"
        )
    file = streams[0].name
    return {"train": {"file": file, "start": 0, "stop": cut}, "heldout": {"file": file, "start": cut, "stop": sizes[0]}}
