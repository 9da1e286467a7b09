"""What a config consists of: its sections, the settings classes that fill them, and what tells two
runs apart.

The resolved config of a run is a dict of sections with every default filled in. Only what differs
from the defaults identifies the run: a setting that a later release adds changes no run that was
stored before.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from lm_lab.data import loader
from lm_lab.engine import sharding
from lm_lab.registry import Kind, load
from lm_lab.train import optimizer
from lm_lab.train.experiment import Adaptation, Horizon, Precision

# The sections of a config. Of some, a field chooses the module whose Config adds its fields to the
# section.
CHOICES: dict[str, dict[str, Kind]] = {
    "model": {"family": "models"},
    "objective": {"name": "objectives"},
    "adapter": {"name": "adapters"},
    "data": {"source": "data.sources", "tokenizer": "data.tokenizers"},
}
SETTINGS: dict[str, type] = {
    "data": loader.Config,
    "adapter": Adaptation,
    "optimizer": optimizer.Config,
    "train": Horizon,
    "mesh": sharding.Config,
    "precision": Precision,
}
SECTIONS = ("model", "objective", "data", "optimizer", "train", "adapter", "mesh", "precision")
HORIZON = ("train.steps", "train.tokens", "train.budget_flops")

Values = Mapping[str, Any]  # a config as plain values, by section
Flat = dict[str, Any]  # the same by dotted key, as {"model.depth": 4}
Choice = tuple[tuple[str, str], ...]  # (("model.family", "decoder"), ...)


class Known(NamedTuple):
    """What the settings classes say of a config's keys, by dotted key."""

    defaults: Flat  # plain values; keys that must be given are absent
    free: frozenset[str]  # keys that do not decide the result of a run
    files: frozenset[str]  # keys that name files of text, whose content decides it


class Difference(NamedTuple):
    """A key in which two configs differ, with both values; ABSENT where a config lacks it."""

    key: str
    stored: Any
    asked: Any


ABSENT = object()


def flat(values: Values) -> Flat:
    """The config by dotted key, in its own order."""
    found: Flat = {}
    for name, section in values.items():
        if isinstance(section, Mapping):
            found |= {f"{name}.{field}": value for field, value in section.items()}
        else:
            found[name] = section
    return found


def choice(values: Values) -> Choice:
    """The modules that a config names, defaults where it names none."""
    own, named = flat(values), []
    for section, fields in CHOICES.items():
        for field in fields:
            default = _defaults(SETTINGS[section]).get(field) if section in SETTINGS else None
            named.append((f"{section}.{field}", own.get(f"{section}.{field}", default)))
    return tuple((key, name) for key, name in named if isinstance(name, str))


@functools.cache
def known(chosen: Choice) -> Known:
    """The defaults of all keys of configs that name these modules. Imports them: pass no names of
    unknown origin.
    """
    classes = list(SETTINGS.items())
    for key, name in chosen:
        section, field = key.split(".")
        classes.append((section, load(CHOICES[section][field], name, f"config.{key}").Config))
    defaults: Flat = {"seed": 0}
    free, files = set(), set()
    for section, cls in classes:
        defaults |= {f"{section}.{name}": value for name, value in _defaults(cls).items()}
        for field in dataclasses.fields(cls):
            if not field.metadata.get("changes_result", True):
                free.add(f"{section}.{field.name}")
            if field.metadata.get("names_file", False):
                files.add(f"{section}.{field.name}")
    return Known(defaults, frozenset(free), frozenset(files))


def _defaults(cls: type) -> dict[str, Any]:
    stated = (
        field for field in dataclasses.fields(cls) if field.default is not dataclasses.MISSING
    )
    return {
        field.name: list(field.default) if isinstance(field.default, tuple) else field.default
        for field in stated
    }


def spec(values: Values, about: Known) -> Flat:
    """What a config says beyond the defaults."""
    return {
        key: value
        for key, value in flat(values).items()
        if not same(value, about.defaults.get(key, ABSENT))
    }


def deciding(values: Values, about: Known) -> Flat:
    """What of the spec decides the result of the run, the content of files apart."""
    return {
        key: value
        for key, value in spec(values, about).items()
        if key not in about.free | about.files
    }


def differences(stored: Values, asked: Values, about: Known) -> list[Difference]:
    """All keys in which two configs differ; a key that one of them lacks has its default there."""
    there, here = flat(stored), flat(asked)
    keys = [*here, *(key for key in there if key not in here)]
    pairs = [
        Difference(key, *(side.get(key, about.defaults.get(key, ABSENT)) for side in (there, here)))
        for key in keys
    ]
    return [pair for pair in pairs if not same(pair.stored, pair.asked)]


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal: 1 and 1.0 are, 1 and True are not."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)
