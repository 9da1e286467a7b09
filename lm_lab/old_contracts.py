"""What a module of each kind exports: one table, asked when the registry finds a module, so that
one from outside that lacks something is one line that names it, before any work.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

from lm_lab.types import AdapterFunctions, Batch, DataForm, ObjectiveFunctions, Sees, UserError

Kind = Literal["models", "objectives", "adapters", "data.sources", "data.tokenizers"]


class Contract(NamedTuple):
    """Names of functions with what they are given, and of constants with what they may be."""

    functions: Mapping[str, tuple[str, ...]]
    optional_functions: Mapping[str, tuple[str, ...]] = {}
    constants: Mapping[str, tuple] = {}
    optional_constants: Mapping[str, tuple] = {}
    settings: tuple[str, ...] = ()  # attributes of Config, beside its fields


CONTRACTS: dict[Kind, Contract] = {
    "models": Contract({"Model": ("config",)}, settings=("sees", "reads_context")),
    "objectives": Contract(
        {"make": ("config", "length", "vocabulary")},
        {
            "window": ("config", "length"),
            "complete": ("config", "model"),
            "specials": ("config", "length", "vocabulary"),
            "model_length": ("config", "length", "context_length"),
            "head": ("config",),
            "check_labels": ("config", "labels"),
            "prompt": ("config", "vocabulary", "examples"),
            "given": ("config", "length"),
            "judged": ("config", "examples", "given"),
        },
        {"SEES": (None, *get_args(Sees))},
        {"READS": get_args(DataForm), "CONTEXT": (None, False, True), "MEASURES": ("correlation",)},
    ),
    "adapters": Contract({"make": ("config",)}),
    "data.sources": Contract(
        {"documents": ("config",), "fingerprint": ("config",)},
        {"as_source": ("config", "text")},
        optional_constants={"GIVES": get_args(DataForm)},
    ),
    "data.tokenizers": Contract(
        {"make": ("config",)},
        {"learn": ("config", "texts"), "unknown": ("config", "learnt", "texts")},
    ),
}
WRITING = (
    "measures",
    "beams",
    "length_penalty",
    "bleu_tokenizer",
)  # settings of an objective whose texts are measured

OF_VECTORS = (
    "analogies",
    "similarities",
)  # settings of an objective whose word vectors are measured


def check(kind: Kind, module: ModuleType, where: str) -> None:
    """Raises UserError, naming the module and what it lacks, unless it has all that its kind
    exports.
    """
    contract = CONTRACTS[kind]
    fault = _config_fault(getattr(module, "Config", None), contract.settings)
    for name, arguments in {**contract.functions, **contract.optional_functions}.items():
        if hasattr(module, name) or name in contract.functions:
            given = (
                (*arguments, "learnt") if name == "make" and hasattr(module, "learn") else arguments
            )
            fault = fault or _function_fault(name, getattr(module, name, None), given)
    for name, allowed in {**contract.constants, **contract.optional_constants}.items():
        if name in contract.constants and not hasattr(module, name):
            fault = fault or f"has no {name}, which is {_listed(allowed)}"
        elif getattr(module, name, allowed[0]) not in allowed:
            fault = (
                fault or f"has {name} {getattr(module, name)!r}, which must be {_listed(allowed)}"
            )
    if kind == "objectives" and fault is None:
        fault = _objective_fault(module)
    if fault:
        raise UserError(
            f"{where}: {module.__name__!r} {fault}; write it like those of lm_lab.{kind}"
        )


def _config_fault(config: Any, settings: tuple[str, ...]) -> str | None:
    if config is None:
        return "has no Config"
    if not dataclasses.is_dataclass(config) or not config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return "has a Config that is no frozen dataclass"
    try:
        get_type_hints(config)
    except (NameError, TypeError) as error:
        return f"has a Config whose types cannot be read ({error})"
    fields = {field.name for field in dataclasses.fields(config)}
    lacks = [name for name in settings if name not in fields and not hasattr(config, name)]
    return f"has a Config without {lacks[0]}" if lacks else None


def _function_fault(name: str, function: Any, arguments: tuple[str, ...]) -> str | None:
    call = f"{name}({', '.join(arguments)})"
    if not callable(function):
        return f"has no {call}"
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        return f"has a {name} that is not called as {call}: {error}"
    except ValueError:  # written in C: it does not say what it takes
        return None
    return None


def _objective_fault(module: ModuleType) -> str | None:
    """What one objective needs and another does not."""
    if getattr(module, "READS", "stream") == "stream" and not hasattr(module, "window"):
        return "has no window(config, length), which an objective on a stream of text needs"
    fields = {field.name for field in dataclasses.fields(module.Config)}
    if getattr(module, "READS", "stream") == "pairs" and "measures" in fields:
        lacks = [name for name in WRITING if name not in fields]
        if lacks:
            return f"has a Config with measures and without {lacks[0]}"
        if not hasattr(module, "prompt"):
            return "has a Config with measures and no prompt(config, vocabulary, examples)"
    if len(fields & set(OF_VECTORS)) == 1:
        return (
            f"has a Config with {(fields & set(OF_VECTORS)).pop()} alone of "
            f"{' and '.join(OF_VECTORS)}"
        )
    return None


def _listed(allowed: tuple) -> str:
    return " or ".join(map(repr, allowed))


def check_model(config: Any, where: str) -> None:
    """Raises UserError unless the settings of a model say what it sees and whether it reads a
    context.
    """
    for name, allowed in (("sees", get_args(Sees)), ("reads_context", (False, True))):
        if getattr(config, name) not in allowed:
            owner = f"{type(config).__module__}.{type(config).__qualname__}"
            raise UserError(
                f"{where}: {owner} has {name} {getattr(config, name)!r}, which must be "
                f"{_listed(allowed)}"
            )


def checked(module: str, made: Any) -> ObjectiveFunctions:
    """The objective that a module made, which says what is wrong with its batches and sums where
    they are traced.
    """
    _require(module, "make", made, ObjectiveFunctions)

    def prepare(key: Any, examples: Any) -> Batch:
        return _require(module, "prepare", made.prepare(key, examples), Batch)

    def loss(logits: Any, batch: Batch) -> Any:
        sums = made.loss(logits, batch)
        lacks = [name for name in ("nll", "weight") if name not in sums]
        if lacks:
            raise UserError(f"{module!r} has a loss that gives no {lacks[0]!r}")
        return sums

    return ObjectiveFunctions(prepare, loss)


def checked_adapter(module: ModuleType, made: Any) -> AdapterFunctions:
    """The adapter that a module made. Raises UserError for something else."""
    return _require(module.__name__, "make", made, AdapterFunctions)


def _require(module: str, name: str, value: Any, wanted: Callable) -> Any:
    if not isinstance(value, wanted):  # type: ignore[arg-type]
        found = f"gives a {type(value).__name__}, not a lm_lab.types.{wanted.__name__}"
        raise UserError(f"{module!r} has a {name} that {found}; return one")
    return value
