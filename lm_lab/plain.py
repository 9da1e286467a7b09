"""Settings as plain values."""

import dataclasses
from collections.abc import Mapping
from typing import Any


def option_name(field: dataclasses.Field, chosen: Any) -> str:
    """The name of the option of a `choice` field whose class `chosen` is an instance of."""
    options: Mapping[str, type] = field.metadata["options"]
    names = (name for name, cls in options.items() if type(chosen) is cls)
    return next(names, type(chosen).__module__)


def plain(settings: Any) -> dict[str, Any]:
    """Settings as plain values for JSON: tuples become lists, and a choice becomes a dict with its
    name.
    """
    return {
        field.name: plain_value(field, getattr(settings, field.name))
        for field in dataclasses.fields(settings)
    }


def plain_value(field: dataclasses.Field, value: Any) -> Any:
    """The value of a field as a plain one."""
    if "options" in field.metadata:
        return {"name": option_name(field, value), **plain(value)}
    if "modules" in field.metadata:
        return _plain_module(field, value)
    if "modules_by_label" in field.metadata:
        return {label: _plain_module(field, chosen) for label, chosen in value}
    if "by_label" in field.metadata:
        return {label: plain(each) for label, each in value}
    return plain(value) if "section" in field.metadata else listed(value)


def _plain_module(field: dataclasses.Field, value: Any) -> dict[str, Any]:
    return {field.metadata["tag"]: value.name, **plain(value.settings)}


def listed(value: Any) -> Any:
    """The value with its tuples, at any depth, as lists."""
    return [listed(item) for item in value] if isinstance(value, tuple) else value
