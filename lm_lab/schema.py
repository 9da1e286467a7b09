"""Typed, documented settings: frozen dataclasses that check what a config says, with the nearest
name for a typo.
"""

import dataclasses
import difflib
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar, get_type_hints

from lm_lab.hints import key_of
from lm_lab.plain import listed, plain_value
from lm_lab.types import UserError
from lm_lab.values import check, shown

T = TypeVar("T")


NOT_GIVEN = object()  # stands for "no reference value"


class Chosen(NamedTuple):
    """A module of a kind, by its name, with its settings: the value of a `module` field."""

    name: str
    settings: Any


class Modules(NamedTuple):
    """The modules of a kind: those that lm_lab brings, and any other by dotted path."""

    names: Callable[[], list[str]]  # of those that lm_lab brings
    settings: Callable[[str, str], type]  # (name, where) -> settings class; raises UserError
    path: Callable[[str], str]  # name -> dotted path of the module


class Condition(NamedTuple):
    """When a setting is read: `holds(settings)` is True where it is; `words` describe the case in
    errors, as in "learned positions".
    """

    words: str
    holds: Callable[[Any], bool]


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
    read_with: Condition | None = None,
) -> Any:
    """A documented dataclass field, required unless it has a default; numbers lie in [low, high],
    and above `above`.

    A run may go on with another value of a setting that is marked so:
    changes_result=False    it changes the result by the rounding of sums at most: kernels, the
                            mesh, how often something is written
    names_file=True         it names a file of text, or which state of it, and the text itself is
                            compared

    reference=VALUE marks a setting that says how something is computed (changes_result is False);
    VALUE selects the plain computation, written as the formulas are.
    traced=True marks a number that lives in the train state as an array: runs that differ in it
    alone share one compiled program.
    read_with=Condition(...) marks a setting that is read only if the condition holds for the
    settings of its class; otherwise a value other than the default is an error (`check_read`).
    """
    changes_result = changes_result and reference is NOT_GIVEN
    metadata = {"doc": doc, "low": low, "above": above, "high": high, "reference": reference}
    metadata |= {"changes_result": changes_result, "names_file": names_file, "traced": traced}
    metadata |= {"read_with": read_with}
    return dataclasses.field(default=default, metadata=metadata)


def choice(
    doc: str,
    options: Mapping[str, type],
    default: Any,
    *,
    changes_result: bool = True,
    outside: str | None = None,
    read_with: Condition | None = None,
) -> Any:
    """A field that holds one of several settings classes, by name: an instance of the one chosen.

    A config says {"name": "rotary", "base": 1e4}, or "rotary" for all of its defaults. `default` is
    an instance of one of the classes. The settings of the other options are errors. With `outside`,
    the name may also be the dotted path of a module; its attribute called `outside` is the class,
    which must be defined in that module.
    """
    metadata = {"doc": doc, "options": dict(options), "changes_result": changes_result}
    metadata |= {"outside": outside, "read_with": read_with}
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


def modules_by_label(doc: str, modules: Modules, *, tag: str = "name") -> Any:
    """A field that holds any number of modules of a kind, each with its settings, by labels that
    the config chooses: a tuple of (label, Chosen), by default none.

    A config says {"blimp": {"name": "minimal_pairs", "path": ...}, ...}.
    """
    metadata = {"doc": doc, "modules_by_label": modules, "tag": tag}
    return dataclasses.field(default=(), metadata=metadata)


def by_label(doc: str, cls: type) -> Any:
    """A field that holds any number of settings of one class, by labels that the config chooses: a
    tuple of (label, settings), by default none.
    """
    return dataclasses.field(default=(), metadata={"doc": doc, "by_label": cls})


def section(doc: str, cls: type, *, changes_result: bool = True) -> Any:
    """A field that holds the settings class of a section of the config; changes_result=False marks
    all of them.
    """
    metadata = {"doc": doc, "section": cls, "changes_result": changes_result}
    return dataclasses.field(default_factory=cls, metadata=metadata)


def option_classes(field: dataclasses.Field, name: Any, where: str) -> Mapping[str, type]:
    """The classes of a `choice` field by name. If `name` is a dotted path, the class of that
    outside module is among them; raises UserError where the module has none.
    """
    options, attribute = field.metadata["options"], field.metadata["outside"]
    if attribute is None or not isinstance(name, str) or "." not in name:
        return options
    try:
        cls = vars(importlib.import_module(name)).get(attribute)
    except (ImportError, TypeError) as error:  # TypeError: a relative name
        raise UserError(f"{where}: cannot import {name!r} ({error})") from None
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == name):
        raise UserError(f"{where}: {name!r} has no {attribute}, a dataclass that is defined there")
    return {**options, name: cls}


def keys(cls: type, values: Any, prefix: str = "") -> Iterator[Key]:
    """Every setting of a class that is read, given the choices in the plain `values` (defaults
    elsewhere). It imports the modules that `values` name, so they must come from a trusted source.
    """
    given = values if isinstance(values, Mapping) else {}
    for field in dataclasses.fields(cls):
        key, value = f"{prefix}{field.name}", given.get(field.name)
        if "section" in field.metadata:
            yield from keys(field.metadata["section"], value, f"{key}.")
        elif "options" in field.metadata or "modules" in field.metadata:
            yield from _choice_keys(field, value, key)
        elif "modules_by_label" in field.metadata:
            own = module("", field.metadata["modules_by_label"], tag=field.metadata["tag"])
            for label, each in value.items() if isinstance(value, Mapping) else ():
                yield from _choice_keys(own, each, f"{key}.{label}")
        elif "by_label" in field.metadata:
            for label, each in value.items() if isinstance(value, Mapping) else ():
                yield from keys(field.metadata["by_label"], each, f"{key}.{label}.")
        else:
            yield Key(key, field, listed(field.default))


def _choice_keys(field: dataclasses.Field, value: Any, key: str) -> Iterator[Key]:
    """The key of a choice's name, and those of the settings of what it chooses."""
    tag = field.metadata.get("tag", "name")
    default: dict[str, Any] = {}
    if "options" in field.metadata:
        default = plain_value(field, field.default)
    elif field.metadata["default_name"] is not None:
        default = {tag: field.metadata["default_name"]}
    yield Key(f"{key}.{tag}", field, default.get(tag, dataclasses.MISSING))
    name = chosen_name(value, tag, default.get(tag))
    if "modules" in field.metadata and name is not None:
        yield from keys(field.metadata["modules"].settings(name, key), value, f"{key}.")
    elif "options" in field.metadata and (options := option_classes(field, name, key)).get(
        name or ""
    ):
        own = default if name == default[tag] else {}
        for each in keys(options[name or ""], value, f"{key}."):
            yield each._replace(default=own.get(each.key.removeprefix(f"{key}."), each.default))


def chosen_name(value: Any, tag: str, default: str | None) -> str | None:
    """The name in the plain value of a choice, or the default's; None where there is neither."""
    name = value.get(tag, default) if isinstance(value, Mapping) else value or default
    return name if isinstance(name, str) else None


def reference(settings: Any) -> Any:
    """The same settings with every kernel and shortcut at its plain reference value."""
    changes = {}
    for field in dataclasses.fields(settings):
        if "options" in field.metadata:
            changes[field.name] = reference(getattr(settings, field.name))
        elif field.metadata.get("reference", NOT_GIVEN) is not NOT_GIVEN:
            changes[field.name] = field.metadata["reference"]
    return dataclasses.replace(settings, **changes)


def suggest(name: str, known: list[str]) -> str:
    """The end of an error line: the nearest known name, or else all known names."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"


def _near(name: str, known: list[str], where: str) -> str:
    """What to say of an unknown key: what other programs mean by it, or the nearest name."""
    section, _, key = (key_of(name) or "").partition(".")
    if where.endswith(section) and key.partition(".")[0] in known:
        return f"did you mean {key!r}?"
    if where.count(".") == 1 and not where.endswith(section):
        return f"did you mean 'config.{section}.{key}'?"
    return suggest(name, known)


_hints = cache(get_type_hints)


def build(cls: type[T], values: Mapping[str, Any], where: str, tag: str | None = None) -> T:
    """An instance of the settings class `cls` from plain values; `where` (as in "config.model")
    names it in errors, and `tag` is the key of its name, if it is one of a choice.

    Raises UserError for an unknown or missing key, a wrong type, a value out of range, or a
    combination that the class itself refuses (it raises UserError in __post_init__).
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            known = [*fields, *([tag] if tag else [])]
            raise UserError(f"{where}.{name} does not exist; {_near(str(name), known, where)}")
    hints = _hints(cls)
    checked = {}
    for name, field in fields.items():
        key = f"{where}.{name}"
        if "section" in field.metadata:
            checked[name] = _section(values.get(name, {}), field.metadata["section"], key)
        elif "modules" in field.metadata:
            checked[name] = _named(values.get(name), field, key)
        elif "modules_by_label" in field.metadata:
            checked[name] = _labelled(values.get(name, {}), field, key)
        elif "by_label" in field.metadata:
            cls_of, given = field.metadata["by_label"], _by_label(values.get(name, {}), key)
            checked[name] = tuple((label, _section(each, cls_of, at)) for label, each, at in given)
        elif name in values and "options" in field.metadata:
            checked[name] = _chosen(values[name], field, key)
        elif name in values:
            checked[name] = check(values[name], hints[name], key, field.metadata)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise UserError(f"{key} is missing: {field.metadata.get('doc', 'give it')}")
    try:
        return cls(**checked)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def check_read(settings: Any, given: Mapping[str, Any], where: str) -> None:
    """Raises UserError for a value that nobody reads: its `read_with` condition does not hold, and
    it is not the default. `given` are the plain values from which the settings were built; only
    what they state is checked.
    """
    for field in dataclasses.fields(settings):
        if field.name not in given:
            continue
        key, value = f"{where}.{field.name}", getattr(settings, field.name)
        condition: Condition | None = field.metadata.get("read_with")
        if condition and not condition.holds(settings) and value != field.default:
            raise UserError(f"{key} is read with {condition.words} alone; leave it out")
        inner = value.settings if isinstance(value, Chosen) else value
        if dataclasses.is_dataclass(inner) and isinstance(given[field.name], Mapping):
            check_read(inner, given[field.name], key)


def _section(value: Any, cls: type, where: str) -> Any:
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise UserError(f"{where} must be a section with fields, not {shown(value)}")
    return build(cls, value, where)


def _labelled(value: Any, field: dataclasses.Field, where: str) -> tuple[tuple[str, Chosen], ...]:
    """The value of a `modules_by_label` field. Raises UserError for a label that is no name."""
    own = module("", field.metadata["modules_by_label"], tag=field.metadata["tag"])
    return tuple((label, _named(each, own, at)) for label, each, at in _by_label(value, where))


def _by_label(value: Any, where: str) -> list[tuple[str, Any, str]]:
    """(label, plain or built value, its name in errors) of a field with labels. Raises
    UserError.
    """
    if isinstance(value, tuple):
        value = dict(value)
    if not isinstance(value, Mapping):
        raise UserError(f"{where} must be a section of labels, not {shown(value)}")
    for label in value:
        if not re.fullmatch(r"\w[\w-]*", str(label)):
            raise UserError(f"{where}.{label}: a label has letters, digits, _ and - alone; mend it")
    return [(str(label), each, f"{where}.{label}") for label, each in value.items()]


def _named(value: Any, field: dataclasses.Field, where: str) -> Chosen:
    """The value of a `module` field: the module that is named, with its settings."""
    if isinstance(value, Chosen):
        return value
    modules: Modules = field.metadata["modules"]
    tag, default = field.metadata["tag"], field.metadata["default_name"]
    key = where if isinstance(value, str) else f"{where}.{tag}"
    if not isinstance(value, (str, Mapping, type(None))):
        raise UserError(f"{where} must be a section with fields, not {shown(value)}")
    name = chosen_name(value, tag, default)
    if name is None:
        raise UserError(f"{key} must name one of: {', '.join(modules.names())}")
    cls = modules.settings(name, key)
    settings = _settings_of(value, tag)
    others = {other: partial(modules.settings, other, key) for other in modules.names()}
    _refuse_unread(settings, cls, name, others, where)
    return Chosen(name, build(cls, settings, where, tag))


def _chosen(value: Any, field: dataclasses.Field, where: str) -> Any:
    """The value of a `choice` field. Settings that the plain value leaves out come from the field's
    default, if that is the same option.
    """
    if dataclasses.is_dataclass(value):
        return value
    default = plain_value(field, field.default)
    name = chosen_name(value, "name", default["name"]) if value is not None else None
    options = option_classes(field, name, where)
    if name is None:
        raise UserError(f"{where} must be a name, or a section with one, of {', '.join(options)}")
    if name not in options:
        raise UserError(f"{where}: no option named {name!r}; {suggest(name, list(options))}")
    settings = _settings_of(value, "name")
    others = {other: partial(lambda cls: cls, cls) for other, cls in options.items()}
    _refuse_unread(settings, options[name], name, others, where)
    if name == default.pop("name"):
        settings = default | settings
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
