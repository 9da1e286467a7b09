"""JSON lines: a document in one field of the object on every line."""

import dataclasses
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from lm_lab.contracts import Source
from lm_lab.data import files
from lm_lab.runs import reading
from lm_lab.schema import setting
from lm_lab.types import Document, UserError

SUFFIXES = (".jsonl", ".jsonl.gz")


@dataclasses.dataclass(frozen=True)
class Config:
    """Which files to read, and which field."""

    path: str = setting(
        "a .jsonl or .jsonl.gz file, or a folder that is read with all folders below it",
        names_file=True,
    )
    field: str = setting("the field of each object that holds the text", "text")


def documents(config: Config) -> Iterator[Document]:
    """One document a line, named file:line; blank lines and empty texts are skipped.

    Raises UserError, with file and line, for a line that is not UTF-8, not a JSON object, or lacks
    the field.
    """
    return files.with_text(_read(config), config.path)


def fingerprint(config: Config) -> str:
    """Digest of all files as stored (compressed or not), and of the field."""
    return files.fingerprint(files.find(config.path, SUFFIXES), "jsonl", config.field)


def _read(config: Config) -> Iterator[Document]:
    for name, path in files.find(config.path, SUFFIXES):
        for number, line in _lines(path):
            yield Document(f"{name}:{number}", _text(line, config.field, f"{path}:{number}"))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with (
            reading.open_to_read(path) as file,
            gzip.open(file) if path.name.endswith(".gz") else file as lines,
        ):
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{files.KEY}: cannot read {path} ({error}); is it whole, and readable?"
        ) from None


def _text(line: bytes, field: str, where: str) -> str:
    decoded = files.decode(line, where)
    try:
        record = json.loads(decoded)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{files.KEY}: {where} is not JSON ({error.msg}, column {error.colno}); mend the line"
        ) from None
    except (ValueError, RecursionError) as error:  # a number of too many digits, brackets too deep
        raise UserError(f"{files.KEY}: {where} cannot be read ({error}); mend the line") from None
    if not isinstance(record, dict):
        raise UserError(
            f"{files.KEY}: {where} is not a JSON object; every line must be one, as {{{field!r}: "
            "...}"
        )
    if field not in record:
        known = ", ".join(map(repr, record)) or "none"
        raise UserError(
            f"config.data.source.field: {where} has no field {field!r}; its fields: {known}"
        )
    text = record[field]
    if not isinstance(text, str):
        raise UserError(
            f"config.data.source.field: {where}: {field!r} must be text, not {text!r:.40}"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{files.KEY}: {where} has half of a surrogate pair in {field!r}; mend the line"
        ) from None
    return text


SOURCE = Source(Config, documents, fingerprint)
