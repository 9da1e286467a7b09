"""Messages to the user about the text: one line each, as an error or as a count on stderr."""

import functools
import sys
from collections.abc import Mapping
from typing import Any, Literal

from lm_lab.types import UserError

SOURCE = "config.data.source"  # the key of a single source
Errors = Literal["refuse", "replace", "skip"]
LATEST = 4096  # places, more than the rows of a table that are read column by column
ERRORS = "bytes that are not UTF-8: refuse or replace them (by U+FFFD), or skip the record"


def fault(key: str, message: str) -> UserError:
    """The error about a setting of config.data.source."""
    return UserError(f"{SOURCE}.{key}: {message}")


def missing(key: str, field: str, known: list[str], where: str) -> UserError:
    """The error about a field that a record or file lacks, with those that it has."""
    names = ", ".join(map(repr, known)) or "none"
    return fault(key, f"{where} has no field {field!r}; its fields: {names}")


@functools.cache
def say_once(message: str) -> None:
    """Prints a line on stderr once a process, as the documents of a source are read several
    times.
    """
    print(message, file=sys.stderr, flush=True)


class Decoder:
    """Decodes UTF-8; counts records with bytes that are not UTF-8, and handles them as `errors`
    says."""

    def __init__(self, errors: Errors = "refuse", key: str = "path") -> None:
        """`key` names the setting in errors."""
        self.errors, self.key = errors, key
        self.count, self.first = 0, ""
        self._latest: dict[str, None] = {}  # places of records, whose fields may come apart

    def decode(self, data: bytes, where: str) -> str | None:
        """The text; None where it is to be left out. Raises UserError with `where` and the offset
        in `data` where bytes that are not UTF-8 are refused.
        """
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            if self.errors == "refuse":
                byte = data[error.start]
                raise fault(
                    self.key,
                    f"{where} is not UTF-8 (byte 0x{byte:02x} at offset {error.start}); convert it "
                    "with iconv -f CP949 -t UTF-8 (or from what it is), or set "
                    "config.data.source.errors to replace or skip",
                ) from None
        if where not in self._latest:
            self.count += 1
            self._latest[where] = None
            if len(self._latest) > LATEST:
                del self._latest[next(iter(self._latest))]
        self.first = self.first or where
        return data.decode(errors="replace") if self.errors == "replace" else None

    def decode_all(self, value: Any, where: str) -> Any:
        """A value with every text in it that is stored as bytes decoded; None where one is to be
        left out. Raises UserError as `decode`.
        """
        if isinstance(value, bytes):
            return self.decode(value, where)
        if isinstance(value, Mapping):
            record = {name: self.decode_all(field, where) for name, field in value.items()}
            left_out = any(record[name] is None and value[name] is not None for name in record)
            return None if left_out else record
        return value

    def report(self) -> None:
        """Says on stderr how many records were not UTF-8, and where the first is."""
        if self.count:
            is_one = self.count == 1
            done = ("has" if is_one else "have") + " U+FFFD in place of"
            if self.errors == "skip":
                done = ("is" if is_one else "are") + " left out for"
            records = "record" if is_one else "records"
            say_once(f"{self.count} {records} {done} bytes that are not UTF-8, first {self.first}")
