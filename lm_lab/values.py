"""Plain values, as JSON and config files have them: checked against types and ranges, and shown in
a line or a table.
"""

import math
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from lm_lab.types import UserError

HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # of a model: OWNER/NAME


def first_few(words: Sequence[str], most: int = 3) -> str:
    """The first words of a list that may be long, as in "a, b, c and 2 more"."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def is_text(value: str) -> bool:
    """Whether a text can be written as UTF-8 and has no NUL, so that it can be a path and stand in
    JSON.
    """
    try:
        value.encode()
    except (
        UnicodeEncodeError
    ):  # half of a surrogate pair: Python's stand-in for a byte that is no UTF-8
        return False
    return "\0" not in value


def hub_name(path: Path) -> str | None:
    """OWNER/NAME of the Hugging Face hub, if a path that does not exist may be meant as one."""
    name = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    is_one = HUB_NAME.fullmatch(name) and not path.exists() and not path.parent.exists()
    return name if is_one else None


def check(value: Any, hint: Any, where: str, limits: Mapping[str, Any]) -> Any:
    """The value as the hinted type (an int passes as a float, a list as a tuple; where only text is
    read, 3 is the text "3", as a command line cannot say which is meant), or UserError.
    """
    try:
        converted = _convert(value, hint)
        if converted is _REFUSED:
            converted = _convert(_spelt(value), hint)
        if converted is _REFUSED:
            as_list = "a list, each text" in expected(hint) and isinstance(value, str)
            remedy = f"; write {shown(value.split(','))}" if as_list else ""
            raise UserError(f"{where} must be {expected(hint)}, not {shown(value)}{remedy}")
        numbers = converted if isinstance(converted, tuple) else (converted,)
        for number in numbers:
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                _check_range(number, where, limits)
    except OverflowError:  # a whole number beyond every float
        raise UserError(f"{where} must be finite, not a number of more than 300 digits") from None
    return converted


_REFUSED = object()


def _convert(value: Any, hint: Any) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        options = [_convert(value, option) for option in get_args(hint)]
        return next((option for option in options if option is not _REFUSED), _REFUSED)
    if origin is Literal:
        return value if value in get_args(hint) else _REFUSED
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return _REFUSED
        items = [_convert(item, get_args(hint)[0]) for item in value]
        return _REFUSED if any(item is _REFUSED for item in items) else tuple(items)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint is str and isinstance(value, str) and not is_text(value):
        return _REFUSED
    if hint is type(None):
        return None if value is None else _REFUSED
    return value if type(value) is hint else _REFUSED


def _spelt(value: Any) -> Any:
    """A whole number, or those of a list, as text; any other value as it is."""
    if isinstance(value, (list, tuple)):
        return [_spelt(item) for item in value]
    return str(value) if type(value) is int and abs(value) < 2**63 else value


def shown(value: Any) -> str:
    """The value as one short line; a long value is cut off."""
    if isinstance(value, str) and not is_text(value):
        return f"{ascii(value)[:200]}, with NUL or bytes that are no UTF-8"
    return text if len(text := repr(value)) <= 200 else f"{text[:200]}..."


def expected(hint: Any) -> str:
    """What the type demands of a value, in words: "a whole number or None"."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(expected(option) for option in get_args(hint))
    if origin is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if origin is tuple:
        return f"a list, each {expected(get_args(hint)[0])}"
    names = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "True or False",
        dict: "a mapping",
        type(None): "None",
    }
    return names.get(hint, str(hint))


def _check_range(number: float, where: str, limits: Mapping[str, Any]) -> None:
    low, above, high = (limits.get(name) for name in ("low", "above", "high"))
    if not math.isfinite(number):
        raise UserError(f"{where} must be finite, not {number}")
    if low is not None and number < low:
        raise UserError(f"{where} must be at least {low}, not {number}")
    if above is not None and number <= above:
        raise UserError(f"{where} must be above {above}, not {number}")
    if high is not None and number > high:
        raise UserError(f"{where} must be at most {high}, not {number}")


def table_value(value: Any) -> Any:
    """A plain value in a cell of a table: a choice is its name, with its settings if it has any,
    and a sequence its text, as it is read again.

    >>> table_value({"name": "rotary", "base": 5e5}), table_value({"name": "alibi"}), table_value(3)
    ('rotary(base=500000.0)', 'alibi', 3)
    >>> table_value((80, 160))
    '[80, 160]'
    """
    if isinstance(value, list | tuple):
        return str(list(value))
    if not isinstance(value, Mapping):
        return value
    settings = {key: table_value(each) for key, each in value.items() if key != "name"}
    text = ", ".join(f"{key}={each}" for key, each in settings.items())
    return f"{value.get('name', '')}({text})" if text else str(value.get("name", ""))
