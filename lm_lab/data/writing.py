"""Tokenizes documents into the files of a token store, one file for each split."""

import contextlib
import json
import shutil
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any

import numpy as np

from lm_lab.data.building import JOURNAL
from lm_lab.data.encoding import Encoded, encoded
from lm_lab.data.hashing_file import HashingFile
from lm_lab.data.progress import Progress
from lm_lab.data.splits import HELDOUT, TEST, Documents, Facts, Rule, scan
from lm_lab.data.spool import Spool
from lm_lab.data.statistics import read_in_parts, statistics
from lm_lab.runs import durable, reading
from lm_lab.runs.sealed import Damaged, fingerprint
from lm_lab.types import Codec, DataForm, Document, Side, UserError

CHECKPOINT_BYTES = (
    2**26
)  # of text between two notes in the journal, from which a killed build resumes


def write(
    folder: Path, documents: Documents, tokenizer: Codec, rule: Rule, kind: DataForm
) -> dict[str, Any]:
    """Writes the files of a token store, except its manifest, into a folder that is empty or that a
    killed process left; files that its journal notes are verified and kept.

    Returns {"splits", "files", ...} for the manifest. Reads the documents first to hash them (which
    decides the split, and finds mistakes before the long work), then to tokenize, from a temporary
    file as far as it holds them. Raises UserError if there are too few for the split, or if they
    change in between.
    """
    dtype = np.min_scalar_type(tokenizer.vocab - 1).newbyteorder("<")
    with contextlib.ExitStack() as stack:
        spool = Spool(folder, stack)
        scanned = scan(documents, rule, kind, spool)
        files = StoreFiles(folder, stack, kind, files_of(scanned.sides), dtype)
        if not files.table.bytes:
            files.table.write(tokenizer.bytes_of.astype("<u2").tobytes())
        first, since = files.documents, 0
        progress = stack.enter_context(Progress("Tokenizing", scanned.bytes))
        progress.add(scanned.bytes_before(first))
        for batch in encoded(documents, scanned, spool, tokenizer, first):
            files.add(batch, tokenizer)
            first = batch.read.stop
            done = sum(facts.bytes for facts in batch.read.facts)
            progress.add(done)
            since += done
            if since >= CHECKPOINT_BYTES:
                files.note(first)
                since = 0
    files.finish()
    splits = _ranges(files.of_sides(), dtype.itemsize, rule.fraction)
    counted = {
        side: statistics(
            read_in_parts(folder / place["file"], dtype, place["start"], place["stop"]), tokenizer
        )
        for side, place in splits.items()
    }
    return {
        "documents": int(scanned.kept.sum()),
        "bytes": scanned.bytes,
        **({"left_out": scanned.left_out} if rule.facts else {}),
        **({"leaked": scanned.leaked} if scanned.leaked else {}),
        "dtype": dtype.str,
        "splits": splits,
        "statistics": {side: counts._asdict() for side, counts in counted.items()},
        "files": {file.name: file.entry() for file in files.all},
    }


def tokens_of(folder: Path, place: Mapping[str, Any], dtype: np.dtype | str) -> np.ndarray:
    """The tokens of a side, memory-mapped; `place` is its entry in the manifest's "splits"."""
    tokens = np.memmap(folder / place["file"], dtype, "r").view(np.ndarray)
    return tokens[place["start"] : place["stop"]]


def files_of(sides: np.ndarray) -> dict[Side, str]:
    """The token file of each split, given the splits of documents, u8[n]. If no document is held
    out, training and held-out text are two parts of one file.
    """
    present = set(sides.tolist())
    files: dict[Side, str] = {"train": "all", "heldout": "all"}
    if HELDOUT in present:
        files = {"train": "train", "heldout": "heldout"}
    if TEST in present:
        files["test"] = "test"
    return files


class StoreFiles:
    """The files of a token store while they are written, and a journal of the progress.

    The journal is the number of documents whose files are on the disk, with the size and SHA-256
    that each file had then.
    """

    def __init__(
        self,
        folder: Path,
        stack: contextlib.ExitStack,
        kind: DataForm,
        token_files: Mapping[Side, str],
        dtype: np.dtype,
    ) -> None:
        """Creates the files, or opens those that a killed process left; the stack closes them."""
        self._folder, self._token_files, self._dtype = folder, token_files, dtype
        names = _names(kind, token_files)
        journal = _journal(folder)
        try:
            opened = {
                name: stack.enter_context(HashingFile(folder / name, journal["files"][name]))
                for name in names
            }
        except (Damaged, KeyError):
            journal = {"documents": 0, "files": {}}
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            opened = {name: stack.enter_context(HashingFile(folder / name)) for name in names}
        self.documents: int = journal["documents"]
        self.all = list(opened.values())
        self.table = opened["bytes_of.u16"]
        self._files = opened

    def of_sides(self) -> dict[Side, HashingFile]:
        """The token file of each side."""
        return {side: self._files[f"{file}.tokens"] for side, file in self._token_files.items()}

    def add(self, batch: Encoded, tokenizer: Codec) -> None:
        """Adds a batch of documents.

        Raises UserError for an id outside the vocabulary.
        """
        end = np.array([tokenizer.end_of_document], self._dtype)
        streams = self.of_sides()
        parts: dict[str, list[np.ndarray]] = {stream.name: [] for stream in streams.values()}
        ends = {stream.name: stream.bytes // self._dtype.itemsize for stream in streams.values()}
        listed: list[str] = []
        for document, facts, side, ids in zip(*batch.read[:3], batch.ids):
            name = streams[side].name
            places, arrays = [ends[name]], parts[name]
            for part in ids:
                places.append(places[-1] + len(part) + 1)
                arrays += (part, end)
            listed.append(_listed(document, facts, name, places))
            self._add_record(document, side, places)
            ends[name] = places[-1]
        self._files["documents.jsonl"].write("".join(listed).encode())
        for stream in dict.fromkeys(streams.values()):
            if parts[stream.name]:
                checked = _checked(np.concatenate(parts[stream.name]), tokenizer)
                stream.write(checked.astype(self._dtype).tobytes())

    def _add_record(self, document: Document, side: Side, places: list[int]) -> None:
        """Adds what only records have: the place in the tokens, the label, and texts for
        metrics.
        """
        if index := self._files.get(f"{side}.index"):
            # a record of one text has its end in both columns
            place = [*places[:-1], *places[-1:] * max(1, 4 - len(places))]
            index.write(np.array(place, "<i8").tobytes())
        if labels := self._files.get(f"{side}.labels"):
            labels.write(np.array(document.label, "<f4").tobytes())
        if texts := self._files.get(f"{side}.texts.jsonl"):
            texts_of_record = {"source": document.text, "target": document.target}
            texts.write(json.dumps(texts_of_record).encode() + b"\n")

    def note(self, documents: int) -> None:
        """Waits until all files are on the disk, and notes in the journal that they hold so many
        documents.
        """
        for file in self.all:
            file.sync()
        entries = {file.name: file.entry() for file in self.all}
        content = {"documents": documents, "files": entries}
        sealed = json.dumps({**content, "sha256": fingerprint(content)})
        durable.replace(self._folder / JOURNAL, sealed.encode())

    def finish(self) -> None:
        """Removes the journal: the store is whole."""
        (self._folder / JOURNAL).unlink(missing_ok=True)


def _names(kind: DataForm, token_files: Mapping[Side, str]) -> list[str]:
    """The files of a store, in the order of its manifest."""
    names = [f"{name}.tokens" for name in dict.fromkeys(token_files.values())]
    names += ["documents.jsonl", "bytes_of.u16"]
    if kind == "stream":
        return names
    ends = ("index", "labels") if kind == "labelled" else ("index",)
    names += [f"{side}.{end}" for side in token_files for end in ends]
    judged = list(token_files)[1:] if kind == "pairs" else []
    return names + [f"{side}.texts.jsonl" for side in judged]


def _journal(folder: Path) -> dict[str, Any]:
    """The journal of a killed process, or that of an empty store."""
    try:
        journal = json.loads(reading.read_bytes(folder / JOURNAL))
        if journal.pop("sha256") == fingerprint(journal):
            return journal
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass
    return {"documents": 0, "files": {}}


def _listed(document: Document, facts: Facts, file: str, places: list[int]) -> str:
    """The line of a document in documents.jsonl. Only a name needs quoting: written like this, a
    line takes a quarter of the time of json.dumps.
    """
    return (
        f'{{"name": {quoted(document.name)}, "sha256": "{facts.sha256.hex()}", '
        f'"bytes": {facts.bytes}, "file": "{file}", "offset": {places[0]}, '
        f'"tokens": {places[-1] - places[0]}}}\n'
    )


def _checked(ids: np.ndarray, tokenizer: Codec) -> np.ndarray:
    """The ids. Raises UserError for what is no whole number, or outside the vocabulary."""
    if not np.issubdtype(ids.dtype, np.integer):
        raise UserError(
            f"config.data.tokenizer gives ids of dtype {ids.dtype}, not whole numbers; mend it"
        )
    if ids.min() < 0 or ids.max() >= tokenizer.vocab:
        wrong = ids[(ids < 0) | (ids >= tokenizer.vocab)][0]
        raise UserError(
            f"config.data.tokenizer gives id {wrong}, outside its vocabulary of {tokenizer.vocab}; "
            "mend it"
        )
    return ids


def _ranges(streams: Mapping[Side, HashingFile], itemsize: int, fraction: float) -> dict[str, Any]:
    """The place of each split: a file of its own, or a part of a shared one."""
    places = {
        name: {"file": stream.name, "start": 0, "stop": stream.bytes // itemsize}
        for name, stream in streams.items()
    }
    if streams["train"] is streams["heldout"]:
        # As nanoGPT, which cuts n characters at int(0.9 n); the end of the last document is not
        # counted.
        size = places["train"]["stop"]
        cut = int((1 - fraction) * (size - 1))
        if not 0 < cut < size:
            raise UserError(
                f"config.data.holdout_fraction: {size} tokens cannot be split at {fraction}; give "
                "more text"
            )
        places["train"]["stop"] = places["heldout"]["start"] = cut
    return places
