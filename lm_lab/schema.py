"""Typed, documented settings: frozen dataclasses that check what a config says, with the nearest
name for a typo.
"""

import dataclasses
import difflib
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lm_lab.types import UserError

T = TypeVar("T")


def setting(
    doc: str,
    default: Any = dataclasses.MISSING,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    changes_result: bool = True,
    names_file: bool = False,
    traced: bool = False,
) -> Any:
    """A documented dataclass field, required unless it has a default; numbers lie in [low, high],
    and above `above`.

    A run may go on with another value of a setting that is marked so:
    changes_result=False    it decides the result only by the rounding of sums, if at all: kernels,
                            the mesh, how often something is written
    names_file=True         it says where text lies, and the text is compared itself

    traced=True marks a number that lives in the train state as an array: runs that differ in it
    alone share one compiled program.
    """
    metadata = {"doc": doc, "low": low, "above": above, "high": high}
    marks = {"changes_result": changes_result, "names_file": names_file, "traced": traced}
    return dataclasses.field(default=default, metadata=metadata | marks)


def choice(
    doc: str,
    options: Mapping[str, type],
    default: Any,
    *,
    changes_result: bool = True,
    outside: str | None = None,
) -> Any:
    """A field that holds one of several settings classes, by name: an instance of the one chosen.

    A config says {"name": "rotary", "base": 1e4}, or "rotary" for all of its defaults. `default`
    is an instance of one of the classes. The settings of the other options are errors. With
    `outside`, a name may also be the dotted path of a module whose attribute of that name is such a
    class, defined there.
    """
    metadata = {"doc": doc, "options": dict(options), "changes_result": changes_result}
    metadata["outside"] = outside
    return dataclasses.field(default=default, metadata=metadata)


def option_name(field: dataclasses.Field, chosen: Any) -> str:
    """The name of the option of a `choice` field that a value is an instance of."""
    options: Mapping[str, type] = field.metadata["options"]
    names = (name for name, cls in options.items() if type(chosen) is cls)
    return next(names, type(chosen).__module__)


def plain(settings: Any) -> dict[str, Any]:
    """Settings as JSON has them: tuples are lists, and a choice is a dict with its name."""
    values = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if "options" in field.metadata:
            values[field.name] = {"name": option_name(field, value), **plain(value)}
        else:
            values[field.name] = _listed(value)
    return values


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def suggest(name: str, known: list[str]) -> str:
    """The end of an error line: the nearest known name, else all of them."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"


def build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """An instance of the settings class `cls` from plain values; `where` (as in "config.model")
    names it in errors.

    Raises UserError for an unknown or missing key, a wrong type, a value out of range, or a
    combination that the class itself refuses (it raises UserError in __post_init__).
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise UserError(f"{where}.{name} does not exist; {suggest(name, list(fields))}")
    hints = get_type_hints(cls)
    checked = {}
    for name, field in fields.items():
        if name in values and "options" in field.metadata:
            checked[name] = _chosen(values[name], field.metadata["options"], f"{where}.{name}")
        elif name in values:
            checked[name] = check(values[name], hints[name], f"{where}.{name}", field.metadata)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise UserError(f"{where}.{name} is missing: {field.metadata.get('doc', 'give it')}")
    try:
        return cls(**checked)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _chosen(value: Any, options: Mapping[str, type], where: str) -> Any:
    if type(value) in options.values():
        return value
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise UserError(f"{where} must be a name, or a section with one, of {', '.join(options)}")
    name, settings = given["name"], {key: own for key, own in given.items() if key != "name"}
    if name not in options:
        raise UserError(f"{where}: no option named {name!r}; {suggest(name, list(options))}")
    fields = {option: {f.name for f in dataclasses.fields(cls)} for option, cls in options.items()}
    for key in settings:
        readers = [option for option in options if key in fields[option]]
        if key not in fields[name] and readers:
            raise UserError(
                f"{where}.{key} is read with {' or '.join(readers)}, not with {name}; leave it out"
            )
    return build(options[name], settings, where)


def is_text(value: str) -> bool:
    """Whether a text is UTF-8, and has no NUL: what the system can take as a path, and JSON as a
    text.
    """
    try:
        value.encode()
    except (
        UnicodeEncodeError
    ):  # half of a surrogate pair: Python's stand-in for a byte that is no UTF-8
        return False
    return "\0" not in value


def check(value: Any, hint: Any, where: str, limits: Mapping[str, Any]) -> Any:
    """The value as the hinted type (an int passes as a float, a list as a tuple), or UserError."""
    try:
        converted = _convert(value, hint)
        if converted is _REFUSED:
            raise UserError(f"{where} must be {_words(hint)}, not {_shown(value)}")
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


def _shown(value: Any) -> str:
    """The value in a line: its beginning, where it is long."""
    if isinstance(value, str) and not is_text(value):
        return f"{ascii(value)[:200]}, with NUL or bytes that are no UTF-8"
    return text if len(text := repr(value)) <= 200 else f"{text[:200]}..."


def _words(hint: Any) -> str:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(option) for option in get_args(hint))
    if origin is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if origin is tuple:
        return f"a list, each {_words(get_args(hint)[0])}"
    names = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "True or False",
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
