"""From a name in a config to the module that implements it: the module path is the registry.

A name is a file of the kind's package ("decoder" among models is lm_lab/models/decoder.py) or the dotted path of
a module of an outside package ("my_research.models.decoder"). Adding a family, an objective, a source or a
tokenizer is adding a file.
"""

import importlib
import importlib.util
import pkgutil
from types import ModuleType
from typing import Literal

from lm_lab.schema import suggest
from lm_lab.types import UserError

Kind = Literal["models", "objectives", "adapters", "data.sources", "data.tokenizers"]


def names(kind: Kind) -> list[str]:
    """The names of a kind that lm_lab itself brings."""
    package = importlib.import_module(f"lm_lab.{kind}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def find(kind: Kind, name: str, where: str) -> ModuleType:
    """The module behind a name; `where` (as in "config.model.family") names it in errors. Raises UserError."""
    if "." not in name:
        if name not in names(kind):
            raise UserError(f"{where}: no {kind} named {name!r}; {suggest(name, names(kind))}")
        return importlib.import_module(f"lm_lab.{kind}.{name}")
    try:
        module = importlib.import_module(name)
    except (ModuleNotFoundError, TypeError) as error:  # TypeError: a relative name
        raise UserError(f"{where}: cannot import {name!r} ({error}); put its package on PYTHONPATH") from None
    if not hasattr(module, "Config"):
        raise UserError(f"{where}: {name!r} has no Config; name a module like those of lm_lab.{kind}")
    return module
