"""From a name in a config to what implements it: the module path is the registry.

A name is a file of the kind's package ("decoder" among models is lm_lab/models/decoder.py) or the
dotted path of a module of an outside package ("my_research.models.decoder"). Adding a family, an
objective, a source or an optimizer is adding a file that ends in one value (contracts.py). Another
value of a module stands behind a colon, as in "my_research.losses:FOCAL"; what a notebook defines
is in the module "__main__".
"""

import dataclasses
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import ModuleType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, overload

from lm_lab import contracts
from lm_lab.schema import Modules, is_outside, suggest
from lm_lab.types import UserError

__all__ = ["KINDS", "Kind", "kinds_of", "load", "load_value", "modules", "name_of", "names"]

T = TypeVar("T")

Kind = Literal[
    "models",
    "objectives",
    "adapters",
    "data.sources",
    "data.tokenizers",
    "optimizers",
    "schedules",
    "evaluation.metrics",
    "evaluation.tasks",
    "sweeps.executors",
]

# kind -> the name of the value that its files end in, and its type
KINDS: dict[Kind, tuple[str, type]] = {
    "models": ("FAMILY", contracts.Family),
    "objectives": ("OBJECTIVE", contracts.Objective),
    "adapters": ("ADAPTER", contracts.Adapter),
    "data.sources": ("SOURCE", contracts.Source),
    "data.tokenizers": ("TOKENIZER", contracts.Tokenizer),
    "optimizers": ("OPTIMIZER", contracts.Optimizer),
    "schedules": ("SCHEDULE", contracts.Schedule),
    "evaluation.metrics": ("METRIC", contracts.Metric),
    "evaluation.tasks": ("TASK", contracts.EvalTask),
    "sweeps.executors": ("EXECUTOR", contracts.Executor),
}


_SOUND: dict[int, Any] = {}  # values that are what their contracts say, by id: checked once


def names(kind: str) -> list[str]:
    """The names of a kind that lm_lab itself brings."""
    return list(_names(kind))


@cache
def _names(kind: str) -> list[str]:
    package = importlib.import_module(f"lm_lab.{kind}")
    return sorted(
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if not module.name.startswith("_")
    )


@overload
def load(kind: Literal["models"], name: str, where: str) -> contracts.Family[Any]: ...
@overload
def load(kind: Literal["objectives"], name: str, where: str) -> contracts.Objective[Any]: ...
@overload
def load(kind: Literal["adapters"], name: str, where: str) -> contracts.Adapter[Any]: ...
@overload
def load(kind: Literal["data.sources"], name: str, where: str) -> contracts.Source[Any]: ...
@overload
def load(kind: Literal["data.tokenizers"], name: str, where: str) -> contracts.Tokenizer[Any]: ...
@overload
def load(kind: Literal["optimizers"], name: str, where: str) -> contracts.Optimizer[Any]: ...
@overload
def load(kind: Literal["schedules"], name: str, where: str) -> contracts.Schedule[Any]: ...
@overload
def load(kind: Literal["evaluation.metrics"], name: str, where: str) -> contracts.Metric[Any]: ...
@overload
def load(kind: Literal["evaluation.tasks"], name: str, where: str) -> contracts.EvalTask[Any]: ...
@overload
def load(kind: Literal["sweeps.executors"], name: str, where: str) -> contracts.Executor[Any]: ...
@overload
def load(kind: Kind, name: str, where: str) -> contracts.Contract: ...
def load(kind: Kind, name: str, where: str) -> Any:
    """The value behind a name; `where` (as in "config.model.family") names it in errors.

    Raises UserError where there is no such module, it fails as it is imported, it lacks the value
    of its kind, or the value is not what its contract says.
    """
    return load_value(kind, *KINDS[kind], name, where)


def load_value(kind: str, attribute: str, contract: type[T], name: str, where: str) -> T:
    """As `load`, of a kind whose contract stands with what uses it: the value of `attribute`."""
    module = _module(kind, name, where)
    attribute = name.partition(":")[2] or attribute
    value = vars(module).get(attribute)
    if value is None:
        fault = f"has no {attribute} = {contract.__name__}(...)"
    elif not isinstance(value, contract):
        fault = f"has {attribute}, which is a {type(value).__name__}, not a {contract.__name__}"
    elif _SOUND.get(id(value)) is value:
        return value
    else:
        fault = _fault(contract, value)
        if fault is None:
            _SOUND[id(value)] = value
            return value
    raise UserError(f"{where}: {module.__name__!r} {fault}; write it like those of lm_lab.{kind}")


def name_of(value: contracts.Contract) -> str:
    """The name by which `load` gives a value of a contract. Raises UserError where no module that
    is loaded has it in a variable.
    """
    kind, usual = next((k, a) for k, (a, contract) in KINDS.items() if type(value) is contract)
    loaded = [module for module in sys.modules.values() if isinstance(module, ModuleType)]
    for module in sorted(loaded, key=lambda module: module.__name__ == "__main__"):
        for attribute, held in list(vars(module).items()):
            if held is value:
                short = module.__name__.removeprefix(f"lm_lab.{kind}.")
                return short if attribute == usual else f"{module.__name__}:{attribute}"
    raise UserError(
        f"a value of {type(value).__name__} stands in a config, and no module has it in a "
        "variable; assign it to one, so that the config can name it"
    )


def kinds_of(name: str, where: str, kinds: Mapping[str, tuple[str, type]]) -> list[str]:
    """Those of the kinds (as KINDS) whose value stands in the module of a dotted path; for a dotted
    path with a colon, the kind of the value that it names. Raises UserError as `load`.
    """
    module, own = _module("models", name, where), name.partition(":")[2]
    if own:
        value = vars(module).get(own)
        return [kind for kind, (_, contract) in kinds.items() if isinstance(value, contract)]
    return [kind for kind, (usual, _) in kinds.items() if usual in vars(module)]


def _module(kind: str, name: str, where: str) -> ModuleType:
    if not is_outside(name):
        if name not in names(kind):
            raise UserError(f"{where}: no {kind} named {name!r}; {suggest(name, names(kind))}")
        return importlib.import_module(_path(kind, name))
    if name.startswith("."):
        raise UserError(f"{where}: cannot import {name!r}, a relative name; give the whole path")
    try:
        return importlib.import_module(_path(kind, name))
    except ModuleNotFoundError as error:
        raise UserError(
            f"{where}: cannot import {name!r} ({error}); {_remedy(name, error)}"
        ) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's module raises is the user's to mend
        raise UserError(
            f"{where}: {name!r} fails as it is imported: {type(error).__name__}: {error}"
        ) from None


def _remedy(name: str, error: ModuleNotFoundError) -> str:
    """What to do about a module that is not found: that of `name`, or one that it imports."""
    package = name.partition(":")[0].partition(".")[0]
    if error.name == package:
        return f"put its package on PYTHONPATH: export PYTHONPATH=$PWD in the folder of {package}"
    return "check the path, or install what it imports"


def modules(kind: Kind) -> Modules:
    """The modules of a kind, as a field of a config names one of them (schema.module)."""
    return Modules(
        partial(names, kind),
        lambda name, where: load(kind, name, where).Config,
        lambda name: _path(kind, name),
    )


def _path(kind: str, name: str) -> str:
    return name.partition(":")[0] if is_outside(name) else f"lm_lab.{kind}.{name}"


def _fault(contract: type, value: Any) -> str | None:
    """What is wrong with the fields of a contract's value, checked against their annotations; None
    if nothing is.
    """
    for name, hint in contract.__annotations__.items():
        fault = _field_fault(name, hint, getattr(value, name))
        if fault:
            return fault
    if contract is contracts.Family and "vocab" not in value.Config.__dataclass_fields__:
        return "has a Config without a field vocab, the size of the model's vocabulary"
    return None


def _field_fault(name: str, hint: Any, value: Any) -> str | None:
    """What is wrong with a field. A union is right if one of its options is."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        faults = [_field_fault(name, option, value) for option in arguments]
        if None in faults:
            return None
        return faults[-1] if callable(value) else faults[0]
    if origin is Literal:
        return None if value in arguments else f"has {name} {value!r}, not {_listed(arguments)}"
    if origin is Callable:
        return _function_fault(name, value, arguments[0])
    if origin is type:
        return _config_fault(value)
    wanted: type = origin or hint
    if not isinstance(value, wanted):
        return f"has {name} {value!r}, which is no {wanted.__name__}"
    return _fault(wanted, value) if isinstance(value, tuple) and wanted is not tuple else None


def _function_fault(name: str, function: Any, parameters: list[Any]) -> str | None:
    call = f"{name}({', '.join(_named(parameter) for parameter in parameters)})"
    if not callable(function):
        return f"has {name} {function!r}, which is no function {call}"
    try:
        inspect.signature(function).bind(*parameters)
    except TypeError as error:
        return f"has a {name} that is not called as {call}: {error}"
    except ValueError:  # written in C, without a signature
        return None
    return None


def _config_fault(config: Any) -> str | None:
    if not dataclasses.is_dataclass(config) or not config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return "has a Config that is no frozen dataclass"
    try:
        get_type_hints(config)
    except (NameError, TypeError) as error:
        return f"has a Config whose types cannot be read ({error})"
    return None


def _named(parameter: Any) -> str:
    if isinstance(parameter, typing.TypeVar):
        return "Config"
    return parameter.__name__ if isinstance(parameter, type) else str(parameter)


def _listed(allowed: tuple) -> str:
    return " or ".join(map(repr, allowed))
