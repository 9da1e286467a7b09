"""Files of any format: text, lines, JSON lines, CSV, TSV, Parquet, Arrow or ArrayRecord, most of
them also packed by gz, xz or zst; the fields that are read decide the form of the documents.
"""

import dataclasses
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from lm_lab.contracts import Source
from lm_lab.data import digests, files, formats, sides
from lm_lab.data.compression import SUFFIXES
from lm_lab.data.faults import ERRORS, Decoder, Errors, fault
from lm_lab.data.fields import Fields, Maker
from lm_lab.data.formats import Format, Reading
from lm_lab.data.locating import Given, locate
from lm_lab.schema import setting
from lm_lab.types import Document, Side


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Fields):
    """Which files to read, and which of their fields."""

    path: Given = setting(
        "what to train on: a file, a folder with all below it, a glob, or a list of these",
        names_file=True,
    )
    heldout_path: Given | None = setting(
        "what is held out, likewise; None: a part of the others", None, names_file=True
    )
    test_path: Given | None = setting(
        "what is kept for the test at the end, likewise", None, names_file=True
    )
    format: str | None = setting(
        "arrow, array_record, csv, jsonl, lines (a text a line), parquet, text (a text a file), "
        "tsv; None: by suffix",
        None,
    )
    header: bool = setting(
        "of csv and tsv: the first line names the columns; else they are 1, 2, ...", True
    )
    quotes: bool | None = setting("whether quotes count; None: in csv, and not in tsv", None)
    json: bool = setting("of array_record: every record is a JSON object, not a text", False)
    errors: Errors = setting(ERRORS, "refuse")
    limit: int | None = setting(
        "documents to train on at most, from the beginning; None: all", None, low=1
    )


def documents(config: Config) -> Iterator[Document]:
    """One document a record, named file:line or file:row, files in order of names. Empty texts are
    left out, and counted on stderr.

    Raises UserError, with file and line, row or offset, for what cannot be read as asked.
    """
    for key, given, split in _sides(config):
        decoder, maker = Decoder(config.errors, key), Maker(config)
        read = files.some(_read(config, key, given, split, decoder, maker), given, decoder)
        yield from islice(read, config.limit if key == "path" else None)
        decoder.report()
        maker.report()


def fingerprint(config: Config) -> str:
    """Digest of the files as stored, and of the settings that decide how they are read."""
    ignored = {"path", "heldout_path", "test_path"}
    settings = [
        (field.name, value)
        for field in dataclasses.fields(config)
        if field.name not in ignored and (value := vars(config)[field.name]) != field.default
    ]
    parts = [
        digests.of_files(_located(config, key, given)[1], key, key=key)
        for key, given, _ in _sides(config)
    ]
    return digests.digest(["files", repr(settings), *parts])


def _sides(config: Config) -> list[tuple[str, Given, Side | None]]:
    return sides.given(config.path, config.heldout_path, config.test_path)


def _located(config: Config, key: str, given: Given) -> tuple[list[Format], list[tuple[str, Path]]]:
    """The format and (name, path) of each file of a split."""
    if config.format is not None:
        file_format = formats.named(config.format)
        matches = locate(key, given, file_format.takes, _listed([file_format])).files
        return [file_format] * len(matches), matches
    formats_by_name = formats.by_suffix()
    all_formats = list(formats_by_name.values())
    matches, listed = locate(
        key,
        given,
        lambda path: any(candidate.takes(path) for candidate in all_formats),
        _listed(all_formats),
    )
    names = [formats.of_file(path, key) for _, path in matches]
    if listed and len(set(names)) > 1:
        raise fault(
            key,
            f"{given!r} holds files of several formats ({', '.join(sorted(set(names)))}); choose "
            "with config.data.source.format, name files by a glob, or make each format a source of "
            "a mixture (config.data.sources)",
        )
    return [formats_by_name[name] for name in names], matches


def _listed(file_formats: list[Format]) -> str:
    suffixes = ", ".join(suffix for file_format in file_formats for suffix in file_format.suffixes)
    return suffixes + (
        f" ({', '.join(SUFFIXES)} behind it)"
        if any(candidate.packed for candidate in file_formats)
        else ""
    )


def _read(
    config: Config, key: str, given: Given, split: Side | None, decoder: Decoder, maker: Maker
) -> Iterator[Document]:
    reading = Reading(decoder, config.names, key, config.header, config.quotes, json=config.json)
    for file_format, (name, path) in zip(*_located(config, key, given), strict=True):
        for record in file_format.read(path, reading):
            where = partial(_place, path, record.number, file_format.whole)
            label = name if file_format.whole else f"{name}:{record.number}"
            document = maker.make(record.fields, label, where, split)
            if document is not None:
                yield document


def _place(path: Path, number: int, is_record: bool) -> str:
    return str(path) if is_record else f"{path}:{number}"


SOURCE = Source(Config, documents, fingerprint, provides=lambda config: config.form)
