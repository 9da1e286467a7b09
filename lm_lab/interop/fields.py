"""The fields of a foreign config.json, checked; a mistake names the field."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from lm_lab.schema import check
from lm_lab.types import UserError

_NEEDED = object()

# Settings that every mapping writes, that mean nothing where what they belong to is not there, or that are of training.
WRITTEN = ("width", "depth", "heads", "kv_heads", "head_dim", "vocab", "length", "feed_forward", "activation", "tied")
WRITTEN += ("norm_epsilon", "rotary_base", "rotary_scaling", "rotary_factor", "rotary_length")
WRITTEN += ("rotary_low_factor", "rotary_high_factor", "experts", "experts_per_token", "capacity_factor")
WRITTEN += ("dropout", "scan", "balance_weight")

# Of layers that are not gated: the library's names, and ours.
PLAIN_ACTIVATIONS = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu": "gelu_exact", "relu": "relu"}


def take(foreign: Mapping[str, Any], name: str, hint: Any, default: Any = _NEEDED, *, low: float | None = None) -> Any:
    """A field's value as the hinted type, not below `low`; the default where it is absent. Raises UserError."""
    if name not in foreign and default is not _NEEDED:
        return default
    if name not in foreign:
        raise UserError(f"{name} is missing")
    return check(foreign[name], hint, name, {"low": low})


def choose(foreign: Mapping[str, Any], name: str, known: Mapping[Any, Any], default: Any = _NEEDED) -> Any:
    """What `known` makes of a field's value; `default`, too, is a key of it. Raises UserError for another value."""
    value = take(foreign, name, str, default)
    if value not in known:
        raise UserError(f"{name} {value!r} is not supported; known: {', '.join(map(str, known))}")
    return known[value]


def expect(foreign: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises UserError for a field that is there and says anything else than the one value that is supported."""
    for name, value in wanted.items():
        given = foreign.get(name, value)
        if given != value or isinstance(given, bool) != isinstance(value, bool):
            raise UserError(f"{name} {given!r} is not supported; only {value!r} is")


def demand(config: Any, architecture: str, wanted: Mapping[str, Any]) -> None:
    """Raises UserError for a setting of ours that is not the one that the architecture can express."""
    for name, value in wanted.items():
        given = getattr(config, name)
        if given != value:
            raise UserError(f"model.{name} {given!r} cannot be written as {architecture}, which has {value!r}")


def demand_all(config: Any, architecture: str, wanted: Mapping[str, Any], written: Collection[str] = ()) -> None:
    """Raises UserError for a setting that the architecture cannot express: one that is neither as wanted, nor among
    those that the mapping writes itself, nor at its default."""
    passed = {*WRITTEN, *written, *wanted}
    others = {
        field.name: field.default
        for field in dataclasses.fields(config)
        if field.metadata["changes_result"] and field.name not in passed
    }
    demand(config, architecture, {**wanted, **others})


def spell(config: Any, name: str, architecture: str, known: Mapping[Any, Any]) -> Any:
    """What the architecture calls a setting's value. Raises UserError for one that it has not."""
    value, names = getattr(config, name), inverse(known)
    if value not in names:
        raise UserError(f"model.{name} {value!r} cannot be written as {architecture}")
    return names[value]


def inverse(known: Mapping[Any, Any]) -> dict[Any, Any]:
    """Ours to theirs; where several of theirs are one of ours, the first."""
    return {ours: theirs for theirs, ours in reversed(list(known.items()))}
