"""Typed, documented settings: frozen dataclasses that check what a config says, with the nearest
name for a typo.
"""

import dataclasses
import difflib
import math
import types
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from lm_lab.types import UserError

T = TypeVar("T")


NOT_GIVEN = object()  # in the place of a reference value that a setting has not


class Chosen(NamedTuple):
    """A module of a kind, by its name, with its settings: the value of a `module` field."""

    name: str
    settings: Any


class Modules(NamedTuple):
    """The modules of a kind: those that lm_lab brings, and any other by dotted path."""

    names: Callable[[], list[str]]  # of those that lm_lab brings
    settings: Callable[[str, str], type]  # (name, where) -> settings class; raises UserError


class Key(NamedTuple):
    """A setting that a config with given choices has."""

    key: str  # dotted, as "model.positions.base"
    field: dataclasses.Field
    default: Any  # plain; dataclasses.MISSING where it must be given


def setting(
    doc: str,
    default: Any = dataclasses.MISSING,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    changes_result: bool = True,
    reference: Any = NOT_GIVEN,
    names_file: bool = False,
    traced: bool = False,
) -> Any:
    """A documented dataclass field, required unless it has a default; numbers lie in [low, high],
    and above `above`.

    A run may go on with another value of a setting that is marked so:
    changes_result=False    it decides the result only by the rounding of sums, if at all: kernels,
                            the mesh, how often something is written
    names_file=True         it says where text lies, and the text is compared itself

    reference=VALUE marks a setting that says how something is computed (changes_result is False);
    with VALUE it is computed as the formulas have it, step by step.
    traced=True marks a number that lives in the train state as an array: runs that differ in it
    alone share one compiled program.
    """
    changes_result = changes_result and reference is NOT_GIVEN
    metadata = {"doc": doc, "low": low, "above": above, "high": high, "reference": reference}
    marks = {"changes_result": changes_result, "names_file": names_file, "traced": traced}
    return dataclasses.field(default=default, metadata=metadata | marks)


def choice(
    doc: str, options: Mapping[str, type], default: Any, *, changes_result: bool = True
) -> Any:
    """A field that holds one of several settings classes, by name: an instance of the one chosen.

    A config says {"name": "rotary", "base": 1e4}, or "rotary" for all of its defaults. `default`
    is an instance of one of the classes. The settings of the other options are errors.
    """
    metadata = {"doc": doc, "options": dict(options), "changes_result": changes_result}
    return dataclasses.field(default=default, metadata=metadata)


def module(doc: str, modules: Modules, default: str | None = None, *, tag: str = "name") -> Any:
    """A field that names a module of a kind and holds its settings: a `Chosen`, required unless it
    has a default.

    A config says {"name": "text", "path": ...}, or "text" for all of its defaults; `tag` is the
    key of the name.
    """
    metadata = {"doc": doc, "modules": modules, "default_name": default, "tag": tag}
    if default is None:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(
        default_factory=lambda: Chosen(default, modules.settings(default, "default")()),
        metadata=metadata,
    )


def section(doc: str, cls: type) -> Any:
    """A field that holds the settings class of a section of the config."""
    return dataclasses.field(default_factory=cls, metadata={"doc": doc, "section": cls})


def option_name(field: dataclasses.Field, chosen: Any) -> str:
    """The name of the option of a `choice` field that a value is an instance of."""
    options: Mapping[str, type] = field.metadata["options"]
    return next(name for name, cls in options.items() if type(chosen) is cls)


def plain(settings: Any) -> dict[str, Any]:
    """Settings as JSON has them: tuples are lists, and a choice is a dict with its name."""
    return {
        field.name: _plain(field, getattr(settings, field.name))
        for field in dataclasses.fields(settings)
    }


def _plain(field: dataclasses.Field, value: Any) -> Any:
    if "options" in field.metadata:
        return {"name": option_name(field, value), **plain(value)}
    if "modules" in field.metadata:
        return {field.metadata["tag"]: value.name, **plain(value.settings)}
    return plain(value) if "section" in field.metadata else _listed(value)


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def keys(cls: type, values: Any, prefix: str = "") -> Iterator[Key]:
    """Every setting of a class that is read where its choices are as the plain `values` say, or by
    default. Imports the modules that they name: pass none of unknown origin.
    """
    given = values if isinstance(values, Mapping) else {}
    for field in dataclasses.fields(cls):
        key, value = f"{prefix}{field.name}", given.get(field.name)
        if "section" in field.metadata:
            yield from keys(field.metadata["section"], value, f"{key}.")
        elif "options" in field.metadata or "modules" in field.metadata:
            yield from _choice_keys(field, value, key)
        else:
            yield Key(key, field, _listed(field.default))


def _choice_keys(field: dataclasses.Field, value: Any, key: str) -> Iterator[Key]:
    """The key of a choice's name, and those of the settings of what it chooses."""
    tag = field.metadata.get("tag", "name")
    default: dict[str, Any] = {}
    if "options" in field.metadata:
        default = _plain(field, field.default)
    elif field.metadata["default_name"] is not None:
        default = {tag: field.metadata["default_name"]}
    yield Key(f"{key}.{tag}", field, default.get(tag, dataclasses.MISSING))
    name = chosen_name(value, tag, default.get(tag))
    if "modules" in field.metadata and name is not None:
        yield from keys(field.metadata["modules"].settings(name, key), value, f"{key}.")
    elif name in field.metadata.get("options", ()):
        own = default if name == default[tag] else {}
        for each in keys(field.metadata["options"][name], value, f"{key}."):
            yield each._replace(default=own.get(each.key.removeprefix(f"{key}."), each.default))


def chosen_name(value: Any, tag: str, default: str | None) -> str | None:
    """The name in the plain value of a choice, or the default's; None where there is neither."""
    name = value.get(tag, default) if isinstance(value, Mapping) else value or default
    return name if isinstance(name, str) else None


def reference(settings: Any) -> Any:
    """The same settings, with everything computed as the formulas have it."""
    changes = {}
    for field in dataclasses.fields(settings):
        if "options" in field.metadata:
            changes[field.name] = reference(getattr(settings, field.name))
        elif field.metadata.get("reference", NOT_GIVEN) is not NOT_GIVEN:
            changes[field.name] = field.metadata["reference"]
    return dataclasses.replace(settings, **changes)


def suggest(name: str, known: list[str]) -> str:
    """The end of an error line: the nearest known name, else all of them."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"


def build(cls: type[T], values: Mapping[str, Any], where: str, tag: str | None = None) -> T:
    """An instance of the settings class `cls` from plain values; `where` (as in "config.model")
    names it in errors, and `tag` is the key of its name, if it is one of a choice.

    Raises UserError for an unknown or missing key, a wrong type, a value out of range, or a
    combination that the class itself refuses (it raises UserError in __post_init__).
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            near = suggest(str(name), [*fields, *([tag] if tag else [])])
            raise UserError(f"{where}.{name} does not exist; {near}")
    hints = get_type_hints(cls)
    checked = {}
    for name, field in fields.items():
        key = f"{where}.{name}"
        if "section" in field.metadata:
            checked[name] = _section(values.get(name, {}), field.metadata["section"], key)
        elif "modules" in field.metadata:
            checked[name] = _named(values.get(name), field, key)
        elif name in values and "options" in field.metadata:
            checked[name] = _chosen(values[name], field.metadata["options"], key)
        elif name in values:
            checked[name] = check(values[name], hints[name], key, field.metadata)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise UserError(f"{key} is missing: {field.metadata.get('doc', 'give it')}")
    try:
        return cls(**checked)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _section(value: Any, cls: type, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise UserError(f"{where} must be a section with fields, not {_shown(value)}")
    return build(cls, value, where)


def _named(value: Any, field: dataclasses.Field, where: str) -> Chosen:
    """What a field of modules names, with its settings."""
    if isinstance(value, Chosen):
        return value
    modules: Modules = field.metadata["modules"]
    tag, default = field.metadata["tag"], field.metadata["default_name"]
    key = where if isinstance(value, str) else f"{where}.{tag}"
    if not isinstance(value, (str, Mapping, type(None))):
        raise UserError(f"{where} must be a section with fields, not {_shown(value)}")
    name = chosen_name(value, tag, default)
    if name is None:
        raise UserError(f"{key} must name one of: {', '.join(modules.names())}")
    cls = modules.settings(name, key)
    settings = _settings_of(value, tag)
    others = {other: partial(modules.settings, other, key) for other in modules.names()}
    _refuse_unread(settings, cls, name, others, where)
    return Chosen(name, build(cls, settings, where, tag))


def _chosen(value: Any, options: Mapping[str, type], where: str) -> Any:
    if type(value) in options.values():
        return value
    name = chosen_name(value, "name", None)
    if name is None:
        raise UserError(f"{where} must be a name, or a section with one, of {', '.join(options)}")
    if name not in options:
        raise UserError(f"{where}: no option named {name!r}; {suggest(name, list(options))}")
    settings = _settings_of(value, "name")
    others = {other: partial(lambda cls: cls, cls) for other, cls in options.items()}
    _refuse_unread(settings, options[name], name, others, where)
    return build(options[name], settings, where, "name")


def _settings_of(value: Any, tag: str) -> dict[str, Any]:
    """The plain value of a choice without its name."""
    settings = value if isinstance(value, Mapping) else {}
    return {key: each for key, each in settings.items() if key != tag}


def _refuse_unread(
    settings: Mapping[str, Any],
    cls: type,
    name: str,
    options: Mapping[str, Callable[[], type]],
    where: str,
) -> None:
    """Raises UserError for a setting that the chosen class does not read, but other options do."""
    for key in settings.keys() - _names(cls):
        readers = [other for other, settings_of in options.items() if key in _names(settings_of())]
        if readers:
            raise UserError(
                f"{where}.{key} is read with {' or '.join(readers)}, not with {name}; leave it out"
            )


def _names(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def is_outside(name: str) -> bool:
    """Whether a name is that of a module beyond lm_lab's own: a dotted
    path, or one with a colon.
    """
    return "." in name or ":" in name


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
            raise UserError(f"{where} must be {expected(hint)}, not {_shown(value)}")
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


def expected(hint: Any) -> str:
    """What a value must be by its type, in words: "a whole number or None"."""
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
