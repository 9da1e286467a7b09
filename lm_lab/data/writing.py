"""Tokenizes documents into the files of a token store, split into train and held-out."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lm_lab.data.documents import digest
from lm_lab.data.progress import Progress
from lm_lab.types import Codec, DataForm, Document, UserError

SplitRule = Literal["documents", "tail"]
Documents = Callable[[], Iterator[Document]]
CHANGED = "changed while it was read; run again when it is at rest"


class Rule(NamedTuple):
    """How documents are held out if the source does not say so itself."""

    split: SplitRule
    fraction: float


class DocumentInfo(NamedTuple):
    """Facts of a document from the first reading."""

    sha256: str  # of all its content
    bytes: int
    text: str  # SHA-256 of its text alone: pairs with one source go to one split
    heldout: bool | None


class HashingFile:
    """A file being written: counts and hashes its bytes, and is on the disk when it is closed."""

    def __init__(self, path: Path) -> None:
        """Creates the file."""
        self._file = path.open("xb")
        self._hash, self.name, self.bytes = hashlib.sha256(), path.name, 0

    def __enter__(self) -> "HashingFile":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Flushes to the disk and closes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def write(self, data: bytes) -> None:
        """Appends bytes."""
        self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)

    def entry(self) -> dict[str, Any]:
        """The manifest's entry for this file."""
        return {"bytes": self.bytes, "sha256": self._hash.hexdigest()}


def write(
    folder: Path, documents: Documents, tokenizer: Codec, rule: Rule, kind: DataForm
) -> dict[str, Any]:
    """Writes the files of a token store, except its manifest, into an empty folder.

    Returns {"splits", "files", ...} for the manifest. Reads the documents twice: first to hash them
    (which decides the split, and finds mistakes before the long work), then to tokenize. Raises
    UserError if there are too few for the split, or if they change in between.
    """
    known = scan(documents)
    held_out = assign_splits(known, rule, kind)
    names = ("train", "heldout") if any(held_out) else ("all",)
    dtype = np.min_scalar_type(tokenizer.vocab - 1).newbyteorder("<")
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(HashingFile(folder / f"{name}.tokens")) for name in names]
        listing = stack.enter_context(HashingFile(folder / "documents.jsonl"))
        table = stack.enter_context(HashingFile(folder / "bytes_of.u16"))
        table.write(tokenizer.bytes_of.astype("<u2").tobytes())
        index = RecordFiles(folder, stack, kind)
        for number, (document, entry, ids) in enumerate(tokenize(documents, known, tokenizer)):
            stream = streams[held_out[number]]
            first, size = stream.bytes // dtype.itemsize, sum(map(len, ids))
            place = {"file": stream.name, "offset": first, "tokens": size}
            listing.write(json.dumps(entry | place).encode() + b"\n")
            index.add(document, held_out[number], (first, first + len(ids[0]), first + size))
            for part in ids:
                stream.write(part.astype(dtype).tobytes())
    splits = _ranges(streams, dtype.itemsize, rule.fraction)
    totals = {"documents": len(known), "bytes": sum(item.bytes for item in known)}
    written = (*streams, listing, table, *index.files)
    return {
        **totals,
        "dtype": dtype.str,
        "splits": splits,
        "files": {f.name: f.entry() for f in written},
    }


class RecordFiles:
    """The files that records have in addition to their tokens; a stream has none."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, kind: DataForm) -> None:
        """Creates the files; the stack closes them."""
        sides = () if kind == "stream" else ("train", "heldout")
        names = [
            [f"{side}.index", *([f"{side}.labels"] if kind == "labelled" else [])] for side in sides
        ]
        self._sides = [
            [stack.enter_context(HashingFile(folder / name)) for name in pair] for pair in names
        ]
        self.files = [file for pair in self._sides for file in pair]
        if kind == "pairs":
            self.files.append(stack.enter_context(HashingFile(folder / "heldout.texts.jsonl")))

    def add(self, document: Document, heldout: bool, place: tuple[int, int, int]) -> None:
        """Adds a record at (first token, first of the target, end) of its split."""
        if not self._sides:
            return
        index, *labels = self._sides[heldout]
        index.write(np.array(place, "<i8").tobytes())
        for file in labels:
            file.write(np.array(document.label, "<f4").tobytes())
        if heldout and document.target is not None:
            self.files[-1].write(
                json.dumps({"source": document.text, "target": document.target}).encode() + b"\n"
            )


def scan(documents: Documents) -> list[DocumentInfo]:
    """Hash and size of every document."""
    known = []
    with Progress("Reading text") as progress:
        for document in documents():
            known.append(document_info(document))
            progress.add(known[-1].bytes)
    return known


def document_info(document: Document) -> DocumentInfo:
    """Hashes and size of a document."""
    data = document.text.encode()
    text = sha256 = hashlib.sha256(data).hexdigest()
    target = b"" if document.target is None else document.target.encode()
    if document.target is not None or document.label is not None:
        sha256 = digest([data, target, repr(document.label)])
    return DocumentInfo(sha256, len(data) + len(target), text, document.heldout)


def assign_splits(known: list[DocumentInfo], rule: Rule, kind: DataForm) -> list[bool]:
    """Whether each document is held out.

    A stream that is cut at its tail holds out no document; a single document is always cut so.
    Raises UserError for an empty split.
    """
    stated = [item.heldout for item in known if item.heldout is not None]
    if stated:
        if all(stated) or not any(stated):
            raise UserError(
                "config.data.source: gives no text to train on, or none that is held out; name "
                "both files"
            )
        return [bool(item.heldout) for item in known]
    if rule.split == "documents" and (kind != "stream" or len(known) > 1):
        return choose(known, rule.fraction, kind)
    if kind != "stream":
        raise UserError(
            "config.data.split: 'tail' cuts a stream of text, and records are whole; leave it "
            "'documents'"
        )
    return [False] * len(known)


def choose(known: list[DocumentInfo], fraction: float, kind: DataForm = "stream") -> list[bool]:
    """Which documents are held out: those whose hash, as a number in [0, 1), is below `fraction`.

    Only the text decides: a document stays in its split when others come or go or it is renamed,
    and copies of a text share a split. Each split gets at least one text. Raises UserError if all
    are copies of one text.
    """
    hashes = {item.text for item in known}
    if len(hashes) < 2:
        tail = "set config.data.split='tail' to hold out the end of the text"
        remedy = tail if kind == "stream" else "give more, or config.data.source.heldout_path"
        raise UserError(
            "config.data.split: 'documents' needs at least two different documents and the source "
            f"has {len(hashes)}; {remedy}"
        )
    lowest, highest = min(hashes), max(hashes)
    limit = int(fraction * 2**64)
    below = {sha: int(sha[:16], 16) < limit for sha in hashes} | {lowest: True, highest: False}
    return [below[item.text] for item in known]


def tokenize(
    documents: Documents, known: list[DocumentInfo], tokenizer: Codec
) -> Iterator[tuple[Document, dict[str, Any], list[np.ndarray]]]:
    """Yields every document, its entry for the listing, and the ids of its text and of its target.

    The ids end with end_of_document. Raises UserError for a document that changed since the first
    reading.
    """
    with Progress("Tokenizing", sum(item.bytes for item in known)) as progress:
        for document, expected in zip(documents(), known):
            if document_info(document) != expected:
                raise UserError(f"config.data.source: {document.name} {CHANGED}")
            entry = {"name": document.name, "sha256": expected.sha256, "bytes": expected.bytes}
            if document.target is None:
                ids = [tokenizer.encode(document.text)]
            else:
                ids = [tokenizer.of_source(document.text), tokenizer.encode(document.target)]
            yield document, entry, [_closed(tokenizer, part) for part in ids]
            progress.add(expected.bytes)


def _closed(tokenizer: Codec, ids: np.ndarray) -> np.ndarray:
    """The ids of a text, and end_of_document. Raises UserError for an id outside the vocabulary."""
    found = np.append(ids, tokenizer.end_of_document)
    if found.min() < 0 or found.max() >= tokenizer.vocab:
        wrong = found[(found < 0) | (found >= tokenizer.vocab)][0]
        raise UserError(
            f"config.data.tokenizer gives id {wrong}, outside its vocabulary of {tokenizer.vocab}; "
            "mend it"
        )
    return found


def _ranges(streams: list[HashingFile], itemsize: int, fraction: float) -> dict[str, Any]:
    """The place of each split: a file of its own, or a part of the only file."""
    sizes = [stream.bytes // itemsize for stream in streams]
    if len(streams) == 2:
        pairs = zip(("train", "heldout"), streams, sizes)
        return {
            name: {"file": stream.name, "start": 0, "stop": size} for name, stream, size in pairs
        }
    # nanoGPT's cut of n characters is int(0.9 n); the end of the last document is not counted.
    cut = int((1 - fraction) * (sizes[0] - 1))
    if not 0 < cut < sizes[0]:
        raise UserError(
            f"config.data.holdout_fraction: {sizes[0]} tokens cannot be split at {fraction}; give "
            "more text"
        )
    file = streams[0].name
    return {
        "train": {"file": file, "start": 0, "stop": cut},
        "heldout": {"file": file, "start": cut, "stop": sizes[0]},
    }
