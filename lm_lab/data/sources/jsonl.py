"""JSON lines: a document in one field of the object on every line."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from lm_lab.contracts import Source
from lm_lab.data import digests, files, sides
from lm_lab.data.faults import ERRORS, Decoder, Errors, fault, missing
from lm_lab.data.formats import Reading, jsonl
from lm_lab.schema import setting
from lm_lab.types import Document, Side

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.xz", ".jsonl.zst")


@dataclasses.dataclass(frozen=True)
class Config:
    """Which files to read, and which field."""

    path: str = setting(
        "a .jsonl file, also .gz, .xz or .zst, or a folder that is read with all folders below it",
        names_file=True,
    )
    field: str = setting("the field of each object that holds the text", "text")
    heldout_path: str | None = setting(
        "the held-out text, likewise; None: a part of the other", None, names_file=True
    )
    test_path: str | None = setting(
        "text that is kept for the test at the end, likewise", None, names_file=True
    )
    errors: Errors = setting(ERRORS, "refuse")


def documents(config: Config) -> Iterator[Document]:
    """One document a line, named file:line; blank lines and empty texts are skipped.

    Raises UserError, with file and line, for a line that is not UTF-8, not a JSON object, or lacks
    the field.
    """
    for key, path, split in _sides(config):
        reading = Reading(Decoder(config.errors, key), key=key)
        named_files = files.find(path, SUFFIXES, key)
        read = _read(named_files, config.field, reading, split)
        yield from files.some(read, path, reading.decoder)
        reading.decoder.report()


def fingerprint(config: Config) -> str:
    """Digest of all files as stored (compressed or not), and of the field."""
    files_by_key = {key: files.find(path, SUFFIXES, key) for key, path, _ in _sides(config)}
    return digests.of_sides(files_by_key, config.errors, "jsonl", config.field)


def _sides(config: Config) -> list[tuple[str, str, Side | None]]:
    return sides.given(config.path, config.heldout_path, config.test_path)


def _read(
    named_files: list[tuple[str, Path]], field: str, reading: Reading, split: Side | None
) -> Iterator[Document]:
    for name, path in named_files:
        for number, record in jsonl.read(path, reading):
            if field not in record:
                raise missing("field", field, list(record), f"{path}:{number}")
            text = record[field]
            if not isinstance(text, str):
                raise fault("field", f"{path}:{number}: {field!r} must be text, not {text!r:.40}")
            if text:
                yield Document(f"{name}:{number}", text, split=split)


SOURCE = Source(Config, documents, fingerprint)
