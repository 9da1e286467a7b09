"""The keys of a config, and which of them tell two runs apart.

The resolved config of a run is a dict of sections with every default filled in. Only values that
differ from the defaults identify the run, so that a setting added by a later release does not
change the identity of stored runs.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lm_lab.plain import option_name
from lm_lab.schema import Modules, chosen_name, keys, option_classes
from lm_lab.train.experiment import Experiment
from lm_lab.types import UserError

END = ("train.steps", "train.tokens", "train.budget_flops")  # exactly one of them is given
BRANCH = ("train.branch_from", "train.branch_step")  # where a run begins

Values = Mapping[str, Any]  # a config as plain values, by section
Flat = dict[str, Any]  # the same by dotted key, as {"model.positions.base": 1e4}


SECTIONS = tuple(field.name for field in dataclasses.fields(Experiment) if field.name != "seed")


class KeyTable(NamedTuple):
    """The keys that a config has, with what their settings classes say of each, by dotted key."""

    defaults: Flat  # plain values; keys that must be given are absent
    harmless: frozenset[str]  # keys that do not decide the result of a run
    files: frozenset[str]  # keys that name files of text, whose content decides it
    traced: frozenset[str]  # keys of numbers that live in the train state as arrays


class Difference(NamedTuple):
    """A key in which two configs differ, with both values; ABSENT where a config lacks it."""

    key: str
    stored: Any
    asked: Any


ABSENT = object()

HARMLESS = (
    tuple(  # sections without a key that decides the result; also for keys of earlier releases
        f"{field.name}."
        for field in dataclasses.fields(Experiment)
        if not field.metadata.get("changes_result", True)
    )
)


def flat(values: Values, prefix: str = "") -> Flat:
    """The config by dotted key, in the order of the config."""
    leaves: Flat = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            leaves |= flat(value, f"{prefix}{name}.")
        else:
            leaves[f"{prefix}{name}"] = value
    return leaves


def modules(values: Values) -> Iterator[tuple[str, str]]:
    """(dotted key, name) of every module that a config names, by default too.

    A module is imported, to see what its own settings name, only when the next pair is asked for,
    so that a reader of untrusted values can refuse a name before it is imported. A module that
    cannot be imported names no further ones.
    """
    return _modules(Experiment, values, "")


def _modules(cls: type, values: Any, prefix: str) -> Iterator[tuple[str, str]]:
    given = values if isinstance(values, Mapping) else {}
    for field in dataclasses.fields(cls):
        key, value, mark = f"{prefix}{field.name}", given.get(field.name), field.metadata
        if "section" in mark:
            yield from _modules(mark["section"], value, f"{key}.")
        elif "modules" in mark:
            name = chosen_name(value, mark["tag"], mark["default_name"])
            yield from _named(mark["modules"], mark["tag"], name, value, key)
        elif "modules_by_label" in mark:
            for label, each in value.items() if isinstance(value, Mapping) else ():
                name = chosen_name(each, mark["tag"], None)
                yield from _named(
                    mark["modules_by_label"], mark["tag"], name, each, f"{key}.{label}"
                )
        elif "options" in mark:
            name = chosen_name(value, "name", option_name(field, field.default))
            if name is not None and name not in mark["options"]:
                yield f"{key}.name", name
            with contextlib.suppress(UserError, KeyError):
                yield from _modules(option_classes(field, name, key)[name or ""], value, f"{key}.")


def _named(
    kind: Modules, tag: str, name: str | None, value: Any, key: str
) -> Iterator[tuple[str, str]]:
    """The module that a field names, and those that its settings name."""
    if name is not None:
        yield f"{key}.{tag}", name
        with contextlib.suppress(UserError):
            yield from _modules(kind.settings(name, key), value, f"{key}.")


def named_together(configs: Sequence[Values]) -> list[dict[str, str]]:
    """The modules of each config by key (`modules`); configs that name the same ones count once."""
    distinct = {tuple(modules(config)) for config in configs}
    return [dict(named) for named in distinct]


def names_modules_of(values: Values, allowed: Sequence[Mapping[str, str]]) -> bool:
    """Whether a config names the same modules as one of the others, of which `named_together`
    tells. Imports none but theirs.
    """
    named = {}
    for key, name in modules(values):
        named[key] = name
        if not any(each.get(key) == name for each in allowed):
            return False
    return named in allowed


def key_table(values: Values) -> KeyTable:
    """The table of the keys of a config. Imports the modules that the config names, so these must
    be trusted.
    """
    every = list(keys(Experiment, values))

    def marked(name: str, default: bool) -> frozenset[str]:
        return frozenset(each.key for each in every if each.field.metadata.get(name, default))

    defaults = {k.key: k.default for k in every if k.default is not dataclasses.MISSING}
    harmless = frozenset(each.key for each in every) - marked("changes_result", True)
    return KeyTable(defaults, harmless, marked("names_file", False), marked("traced", False))


def spec(values: Values, table: KeyTable) -> Flat:
    """The values of a config that differ from the defaults, but for where the run begins: a branch
    is its run in one go.
    """
    return {
        key: value
        for key, value in flat(values).items()
        if key not in BRANCH and not same(value, table.defaults.get(key, ABSENT))
    }


def deciding(values: Values, table: KeyTable) -> Flat:
    """The part of the spec that decides the result of the run, without settings that name files."""
    return {
        key: value
        for key, value in spec(values, table).items()
        if decides(key, table) and key not in table.files
    }


def decides(key: str, table: KeyTable) -> bool:
    """Whether a key may decide the result of a run; keys that name files do not, as the files'
    content does.
    """
    return key not in table.harmless and not key.startswith(HARMLESS)


def differences(stored: Values, asked: Values, table: KeyTable) -> list[Difference]:
    """All keys in which two configs differ; a key that one of them lacks has its default there."""
    there, here = flat(stored), flat(asked)
    every = [*here, *(key for key in there if key not in here)]
    pairs = [
        Difference(key, *(side.get(key, table.defaults.get(key, ABSENT)) for side in (there, here)))
        for key in every
    ]
    return [pair for pair in pairs if not same(pair.stored, pair.asked)]


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal: 1 and 1.0 are, 1 and True are not."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)
