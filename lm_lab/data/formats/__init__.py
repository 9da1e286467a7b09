"""File formats: each file of this package reads one, record by record, and ends in FORMAT."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lm_lab import registry
from lm_lab.data.compression import SUFFIXES, plain_name
from lm_lab.data.faults import Decoder, fault
from lm_lab.schema import suggest


class Reading(NamedTuple):
    """How a file is read."""

    decoder: Decoder
    fields: tuple[str, ...] = ("text",)  # the fields to read
    key: str = "path"  # the setting that names the file, in errors
    header: bool = True  # of columns: whether the first line names them; else they are "1", "2", ..
    quotes: bool | None = (
        None  # of columns: whether quotes have a meaning; None: as usual for the format
    )
    # of columns: whether quotes out of place, and rows of another width than the first, are errors
    exact: bool = True
    json: bool = False  # of ArrayRecord: whether a record is a JSON object, and not a text


class Record(NamedTuple):
    """Named fields, with the number of the line or row where they end, from 1."""

    number: int
    fields: Mapping[str, Any]


class Format(NamedTuple):
    """A file format: a file of lm_lab/data/formats."""

    suffixes: tuple[str, ...]
    # (file, how it is read) -> its records, in constant memory; raises UserError with file and
    # line, row or offset
    read: Callable[[Path, Reading], Iterator[Record]]
    packed: bool = True  # whether it is read through .gz, .xz and .zst
    by_suffix: bool = True  # whether its suffixes alone select it; else a config must name it
    whole: bool = False  # whether a file is one record

    def takes(self, path: Path) -> bool:
        """Whether a file of a folder is of this format, by its suffix."""
        name = plain_name(path.name) if self.packed else path.name
        return name.endswith(self.suffixes)


def named(name: str) -> Format:
    """The format of this name. Raises UserError where lm_lab has none: stored configs name formats,
    so outside modules are not imported.
    """
    if name not in (known := registry.names("data.formats")):
        raise fault("format", f"no format named {name!r}; {suggest(name, known)}")
    return registry.load_value("data.formats", "FORMAT", Format, name, "config.data.source.format")


def by_suffix() -> dict[str, Format]:
    """The formats that a suffix alone selects, by name."""
    formats = {name: named(name) for name in registry.names("data.formats")}
    return {name: candidate for name, candidate in formats.items() if candidate.by_suffix}


def of_file(path: Path, key: str) -> str:
    """The name of the format by a file's suffix. Raises UserError for a suffix of no format."""
    formats = by_suffix()
    matches = [name for name, candidate in formats.items() if candidate.takes(path)]
    if not matches:
        suffixes = ", ".join(
            suffix for candidate in formats.values() for suffix in candidate.suffixes
        )
        raise fault(
            key,
            f"{path} has none of the suffixes {suffixes} (and {', '.join(SUFFIXES)} behind most); "
            "say what it is with config.data.source.format",
        )
    return matches[0]
