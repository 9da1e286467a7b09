"""From a name in a config to the module that implements it: the module path is the registry.

A name is a file of the kind's package ("decoder" among models is lm_lab/models/decoder.py) or the
dotted path of a module of an outside package ("my_research.models.decoder"). Adding a family, an
objective, a source or a tokenizer is adding a file.
"""

import importlib
import importlib.util
import pkgutil
from functools import partial
from types import ModuleType

from lm_lab import contracts
from lm_lab.contracts import Kind
from lm_lab.schema import Modules, suggest
from lm_lab.types import UserError

__all__ = ["Kind", "find", "modules", "names"]


def names(kind: Kind) -> list[str]:
    """The names of a kind that lm_lab itself brings."""
    package = importlib.import_module(f"lm_lab.{kind}")
    return sorted(
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if not module.name.startswith("_")
    )


def find(kind: Kind, name: str, where: str) -> ModuleType:
    """The module behind a name; `where` (as in "config.model.family") names it in errors.

    Raises UserError where there is none, it fails as it is imported, or it lacks what its kind
    exports.
    """
    if "." not in name:
        if name not in names(kind):
            raise UserError(f"{where}: no {kind} named {name!r}; {suggest(name, names(kind))}")
        return importlib.import_module(f"lm_lab.{kind}.{name}")
    try:
        module = importlib.import_module(name)
    except (ModuleNotFoundError, TypeError) as error:  # TypeError: a relative name
        raise UserError(
            f"{where}: cannot import {name!r} ({error}); put its package on PYTHONPATH"
        ) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's module raises is the user's to mend
        raise UserError(
            f"{where}: {name!r} fails as it is imported: {type(error).__name__}: {error}"
        ) from None
    if kind in contracts.CONTRACTS:
        contracts.check(kind, module, where)
    return module


def modules(kind: Kind) -> Modules:
    """The modules of a kind, as a field of a config names one of them (schema.module)."""
    value = {"optimizers": "OPTIMIZER", "schedules": "SCHEDULE"}.get(kind)

    def settings(name: str, where: str) -> type:
        module = find(kind, name, where)
        return (getattr(module, value) if value else module).Config

    return Modules(partial(names, kind), settings)
