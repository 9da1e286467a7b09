"""Tokenizes documents into the files of a token store, each side into its own."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lm_lab.data.documents import SIDES
from lm_lab.data.progress import Progress
from lm_lab.data.splits import (
    HELDOUT,
    LEFT_OUT,
    TEST,
    Documents,
    Rule,
    Survey,
    facts_of,
    survey,
)
from lm_lab.types import Codec, DataForm, Document, Side, UserError

CHANGED = "changed while it was read; run again when it is at rest"


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
    found = survey(documents, rule, kind)
    files = files_of(found.sides)
    dtype = np.min_scalar_type(tokenizer.vocab - 1).newbyteorder("<")
    with contextlib.ExitStack() as stack:
        streams = {
            name: stack.enter_context(HashingFile(folder / f"{name}.tokens"))
            for name in dict.fromkeys(files.values())
        }
        listing = stack.enter_context(HashingFile(folder / "documents.jsonl"))
        table = stack.enter_context(HashingFile(folder / "bytes_of.u16"))
        table.write(tokenizer.bytes_of.astype("<u2").tobytes())
        index = RecordFiles(folder, stack, kind, list(files))
        for document, side, entry, ids in tokenize(documents, found, tokenizer):
            stream = streams[files[side]]
            first, size = stream.bytes // dtype.itemsize, sum(map(len, ids))
            place = {"file": stream.name, "offset": first, "tokens": size}
            listing.write(json.dumps(entry | place).encode() + b"\n")
            index.add(document, side, (first, first + len(ids[0]), first + size))
            for part in ids:
                stream.write(part.astype(dtype).tobytes())
    splits = _ranges({name: streams[files[name]] for name in files}, dtype.itemsize, rule.fraction)
    totals = {"documents": int(found.kept.sum()), "bytes": found.bytes}
    totals |= {"left_out": found.left_out} if rule.facts else {}
    written = (*streams.values(), listing, table, *index.files)
    return {
        **totals,
        "dtype": dtype.str,
        "splits": splits,
        "files": {f.name: f.entry() for f in written},
    }


def files_of(sides: np.ndarray) -> dict[Side, str]:
    """The token file of each side that a store has: sides of documents, u8[n]. Where no document is
    held out, training and held-out text share a file, which is cut.
    """
    found = set(sides.tolist())
    files: dict[Side, str] = {"train": "all", "heldout": "all"}
    if HELDOUT in found:
        files = {"train": "train", "heldout": "heldout"}
    if TEST in found:
        files["test"] = "test"
    return files


class RecordFiles:
    """The files that records have in addition to their tokens; a stream has none."""

    def __init__(
        self, folder: Path, stack: contextlib.ExitStack, kind: DataForm, sides: Sequence[Side]
    ) -> None:
        """Creates the files; the stack closes them."""

        def create(name: str) -> HashingFile:
            return stack.enter_context(HashingFile(folder / name))

        sides = () if kind == "stream" else sides
        self._index = {side: create(f"{side}.index") for side in sides}
        labelled = sides if kind == "labelled" else ()
        self._labels = {side: create(f"{side}.labels") for side in labelled}
        judged = sides[1:] if kind == "pairs" else ()
        self._texts = {side: create(f"{side}.texts.jsonl") for side in judged}
        self.files = [part[side] for side in sides for part in (self._index, self._labels) if part]
        self.files += self._texts.values()

    def add(self, document: Document, side: Side, place: tuple[int, int, int]) -> None:
        """Adds a record at (first token, first of the target, end) of its side."""
        if side in self._index:
            self._index[side].write(np.array(place, "<i8").tobytes())
        if side in self._labels:
            self._labels[side].write(np.array(document.label, "<f4").tobytes())
        if side in self._texts:
            texts = {"source": document.text, "target": document.target}
            self._texts[side].write(json.dumps(texts).encode() + b"\n")


def tokenize(
    documents: Documents, found: Survey, tokenizer: Codec
) -> Iterator[tuple[Document, Side, dict[str, Any], list[np.ndarray]]]:
    """Yields every document that is read, its side, its entry for the listing, and the ids of its
    text and of its target.

    The ids end with end_of_document. Raises UserError for a document that changed since the first
    reading.
    """
    with Progress("Tokenizing", found.bytes) as progress:
        for document, expected, side in zip(documents(), found.known, found.sides.tolist()):
            if facts_of(document) != expected:
                raise UserError(f"config.data.source: {document.name} {CHANGED}")
            if side == LEFT_OUT:
                continue
            entry = {
                "name": document.name,
                "sha256": expected.sha256.hex(),
                "bytes": expected.bytes,
            }
            if document.target is None:
                ids = [tokenizer.encode(document.text)]
            else:
                ids = [tokenizer.of_source(document.text), tokenizer.encode(document.target)]
            yield document, SIDES[side], entry, [_closed(tokenizer, part) for part in ids]
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


def _ranges(streams: Mapping[Side, HashingFile], itemsize: int, fraction: float) -> dict[str, Any]:
    """The place of each side: a file of its own, or a part of the file of two."""
    places = {
        name: {"file": stream.name, "start": 0, "stop": stream.bytes // itemsize}
        for name, stream in streams.items()
    }
    if streams["train"] is streams["heldout"]:
        # nanoGPT's cut of n characters is int(0.9 n); the end of the last document is not counted.
        size = places["train"]["stop"]
        cut = int((1 - fraction) * (size - 1))
        if not 0 < cut < size:
            raise UserError(
                f"config.data.holdout_fraction: {size} tokens cannot be split at {fraction}; give "
                "more text"
            )
        places["train"]["stop"] = places["heldout"]["start"] = cut
    return places
