"""Finds the mapping of a foreign architecture, or the mappings of one of our families."""

import importlib
import pkgutil
from typing import Any

import lm_lab.interop
from lm_lab.interop.mapping import ModelMapping
from lm_lab.schema import suggest
from lm_lab.types import UserError


def mappings() -> dict[str, ModelMapping[Any]]:
    """Every mapping, by the name of its file: the files of this package that end in MAPPING."""
    names = sorted(module.name for module in pkgutil.iter_modules(lm_lab.interop.__path__))
    exports_by_name = {
        name: vars(importlib.import_module(f"lm_lab.interop.{name}")) for name in names
    }
    return {
        name: exports["MAPPING"]
        for name, exports in exports_by_name.items()
        if "MAPPING" in exports
    }


def find(name: str) -> ModelMapping[Any]:
    """The mapping of an architecture, or of one without its head.

    Raises UserError, which lists all architectures (their names are too similar for a suggestion).
    """
    by_architecture = {
        architecture: mapping
        for mapping in mappings().values()
        for architecture in (*mapping.architectures, *mapping.bare)
    }
    if name not in by_architecture:
        raise UserError(
            f"architecture {name!r} is not supported; known: {', '.join(sorted(by_architecture))}"
        )
    return by_architecture[name]


def of_family(family: str) -> list[ModelMapping[Any]]:
    """The mappings by which a family can be written. Raises UserError if there is none."""
    all_mappings = list(mappings().values())
    of_this_family = [mapping for mapping in all_mappings if mapping.family == family]
    if not of_this_family:
        families = sorted({mapping.family for mapping in all_mappings})
        raise UserError(
            f"models of family {family!r} cannot be written for other libraries; "
            f"{suggest(family, families)}"
        )
    return of_this_family
