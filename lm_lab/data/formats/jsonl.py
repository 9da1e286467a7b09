"""JSON lines: an object on every line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lm_lab.data.faults import fault
from lm_lab.data.formats import Format, Reading, Record
from lm_lab.data.formats._lines import numbered

_decode = json.JSONDecoder().raw_decode  # as json.loads, which looks for white space first
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """The objects; blank lines are left out."""
    for number, line in numbered(path, reading):
        if line.strip():
            where = f"{path}:{number}"
            text = reading.decoder.decode(line, where)
            if text is not None:
                yield Record(number, parsed(text, where, reading.key))


def parsed(text: str, where: str, key: str) -> dict[str, Any]:
    """The object that a text is. Raises UserError where it is none."""
    try:
        return object_of(text)
    except ValueError as error:
        raise fault(key, f"{where} {error}") from None


def object_of(text: str) -> dict[str, Any]:
    """The object that a text is. Raises ValueError, which says what is wrong and the remedy, where
    it is none, or holds half of a surrogate pair, which is no character.
    """
    try:
        record, end = _decode(text) if text.startswith("{") else (None, -1)
        if end != len(text):  # white space around it, another kind, or more behind it
            record = json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"is not JSON ({error.msg}, column {error.colno}); mend the line"
        raise ValueError(reason) from None
    except (ValueError, RecursionError) as error:  # a number of too many digits, brackets too deep
        raise ValueError(f"cannot be read ({error}); mend the line") from None
    if not isinstance(record, dict):
        raise ValueError('is not a JSON object; every line must be one, as {"text": ...}')
    if SURROGATE.search(text):
        for field, value in record.items():
            if not _is_text(value):
                raise ValueError(f"has half of a surrogate pair in {field!r}; mend the line")
    return record


def _is_text(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


FORMAT = Format((".jsonl", ".ndjson"), read)
