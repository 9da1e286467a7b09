"""The law of settings: each one that is accepted is read by something."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

import jax
import numpy as np

from lm_lab import schema
from lm_lab.contracts import Family
from lm_lab.laws import expect
from lm_lab.plain import plain
from lm_lab.types import Inputs, PyTree, UserError

T = TypeVar("T")


class Subject(Protocol):
    """Settings, and everything that they decide."""

    @property
    def config(self) -> Any:
        """The settings."""
        ...

    def effect(self, config: Any) -> object:
        """Everything that such settings decide, as a value that can be compared."""
        ...


def settings(subject: Subject) -> None:
    """Every setting that is accepted is read. Those that change no result (kernels, how often
    something is written) are left out.
    """
    check(subject, others(subject.config))


def check(subject: Subject, found: Iterable[tuple[str, Iterator[Any]]]) -> None:
    """Raises Broken for the first key of which no other value has another effect."""
    usual = subject.effect(subject.config)
    for key, changed in found:
        effects = list(_effects(subject, changed, usual))
        expect(
            not effects or effects[-1] != usual,
            f"{key} may have another value, and nobody reads it; mark it with read_with",
        )


def _effects(subject: Subject, found: Iterator[Any], usual: object) -> Iterator[object]:
    """The effects of the settings that are accepted, up to the first one that differs from the
    usual effect.
    """
    for other in found:
        with contextlib.suppress(UserError):
            effect = subject.effect(other)
            yield effect
            if effect != usual:
                return


def of_model(family: Family, inputs: Inputs, config: Any) -> tuple[object, ...]:
    """Everything that the settings of a family decide: the programs of the model and of its
    initialisation, and what objectives and decoding know of the model.
    """
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    answers = (family.scope_of(config), family.start_id(config), family.max_length(config))
    return *program_text(family.Model(config).init, keys, inputs), *answers


def others(config: T) -> Iterator[tuple[str, Iterator[T]]]:
    """(dotted key, settings in which that key alone has another value, which is not its default)
    for every setting; values that are refused are left out.
    """
    for key, values in _candidates(config):
        yield key, _accepted(config, key, values)


def _accepted(config: T, key: str, values: list[Any]) -> Iterator[T]:
    for value in values:
        with contextlib.suppress(UserError):
            changed = _with(plain(config), key, value)
            other = schema.build(type(config), changed, "settings")
            schema.check_read(other, _with({}, key, value), "settings")
            yield other


def program_text(function: Callable[..., PyTree], *arguments: PyTree) -> tuple[object, ...]:
    """The jaxpr of a function, without the addresses of what it calls, and its constants."""
    jaxpr = jax.make_jaxpr(function)(*arguments)
    text = re.sub(r" at 0x[0-9a-f]+", "", str(jaxpr))
    return text, *(np.asarray(constant).tobytes() for constant in jaxpr.consts)


def _candidates(config: Any, prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """(dotted key, other values to try) of every setting that decides results."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        key, about, value = f"{prefix}{field.name}", field.metadata, vars(config)[field.name]
        condition = about.get("read_with")
        if condition and not condition.holds(config):
            continue  # any other value is refused
        if "modules" in about or "by_label" in about:
            continue  # choices that have laws of their own
        if "options" in about:
            yield key, [name for name, cls in about["options"].items() if cls is not type(value)]
            yield from _candidates(value, f"{key}.")
        elif about["changes_result"] and not about["names_file"]:
            candidates = _values(hints[field.name], value)
            yield (
                key,
                [candidate for candidate in candidates if candidate not in (value, field.default)],
            )


def _values(hint: Any, value: Any) -> list[Any]:
    """Values of the hinted type; most settings accept at least one that differs from `value`."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    options = get_args(hint) if type(None) in get_args(hint) else (hint,)
    values: list[Any] = []
    for option in options:
        if option is bool:
            values += [not value]
        elif option is int:
            values += [2 * value, value + 3] if isinstance(value, int) else []
            values += [3, 2, 4, 8, 1]
        elif option is float:
            values += [0.5, 0.25, 2.0, 0.0]
        elif get_origin(option) is Literal:
            values += list(get_args(option))
    return [*values, None] if len(options) > 1 else values


def _with(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    outer_key, _, inner_key = key.partition(".")
    return {
        **values,
        outer_key: _with(values.get(outer_key, {}), inner_key, value) if inner_key else value,
    }
