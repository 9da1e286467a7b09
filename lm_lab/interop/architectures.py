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
    found = {name: vars(importlib.import_module(f"lm_lab.interop.{name}")) for name in names}
    return {name: exports["MAPPING"] for name, exports in found.items() if "MAPPING" in exports}


def find(name: str) -> ModelMapping[Any]:
    """The mapping of an architecture, or of one without its head.

    Raises UserError, which lists all architectures (their names are too similar for a suggestion).
    """
    known = {
        architecture: found
        for found in mappings().values()
        for architecture in (*found.architectures, *found.bare)
    }
    if name not in known:
        raise UserError(
            f"architecture {name!r} is not supported; known: {', '.join(sorted(known))}"
        )
    return known[name]


def of_family(family: str) -> list[ModelMapping[Any]]:
    """The mappings by which a family can be written. Raises UserError if there is none."""
    known = list(mappings().values())
    found = [mapping for mapping in known if mapping.family == family]
    if not found:
        families = sorted({mapping.family for mapping in known})
        raise UserError(
            f"models of family {family!r} cannot be written for other libraries; "
            f"{suggest(family, families)}"
        )
    return found
