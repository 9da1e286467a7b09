"""Finds the mapping of a foreign architecture, or the mappings of one of our families."""

import importlib
import pkgutil
from types import ModuleType

import lm_lab.interop
from lm_lab.schema import suggest
from lm_lab.types import UserError


def modules() -> list[ModuleType]:
    """Every mapping: the files of this package that have ARCHITECTURES."""
    found = [
        f"lm_lab.interop.{module.name}" for module in pkgutil.iter_modules(lm_lab.interop.__path__)
    ]
    return [
        module
        for module in map(importlib.import_module, sorted(found))
        if hasattr(module, "ARCHITECTURES")
    ]


def find(name: str) -> ModuleType:
    """The mapping of an architecture, or of one without its head.

    Raises UserError, which lists all architectures (their names are too similar for a suggestion).
    """
    known = {
        architecture: module
        for module in modules()
        for architecture in (*module.ARCHITECTURES, *getattr(module, "BARE", ()))
    }
    if name not in known:
        raise UserError(
            f"architecture {name!r} is not supported; known: {', '.join(sorted(known))}"
        )
    return known[name]


def of_family(family: str) -> list[ModuleType]:
    """The mappings by which a family can be written. Raises UserError if there is none."""
    found = [module for module in modules() if family == module.FAMILY]
    if not found:
        known = sorted({module.FAMILY for module in modules()})
        raise UserError(
            f"models of family {family!r} cannot be written for other libraries; "
            f"{suggest(family, known)}"
        )
    return found
