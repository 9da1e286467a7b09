"""Low-rank adapters as PEFT stores them: adapter_config.json beside adapter_model.safetensors.

Ranks and alphas of single modules become settings, so that the adapter trains here as in PEFT. The
tensors are converted by peft_layers.py.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lm_lab import registry
from lm_lab.adapters import lora
from lm_lab.interop import folder, peft_layers, tensors, weights
from lm_lab.interop.fields import expect, take
from lm_lab.interop.mapping import FLOATS, ModelMapping
from lm_lab.interop.peft_layers import DOWN, MAGNITUDE, PREFIX, UP, Module
from lm_lab.runs.reading import read_object
from lm_lab.schema import build
from lm_lab.types import PyTree, UserError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Fields that would change the mathematics and are not supported: other kinds of adapters, and other
# parameters that are trained.
EXPECTED = {
    "peft_type": "LORA",
    "bias": "none",
    "use_qalora": False,
    "lora_bias": False,
    **dict.fromkeys(
        ("modules_to_save", "trainable_token_indices", "target_parameters", "layer_replication")
    ),
    **dict.fromkeys(
        ("megatron_config", "alora_invocation_tokens", "use_bdlora", "arrow_config", "kasa_config")
    ),
    **dict.fromkeys(("velora_config", "monteclora_config")),
}
OTHER_BASE = (
    "pissa",
    "olora",
    "corda",
    "loftq",
    "lora_ga",
)  # initialisations that change the base as well


def load(place: Path, family: str, config: Any) -> tuple[lora.Config, PyTree]:
    """(settings, adapters) of a PEFT folder for a model of the
    family's config; the dtype is the file's.

    Stacked layers are arrays of the largest rank: smaller ranks are filled with zeros. Raises
    UserError naming the file, and the field or tensor at fault.
    """
    foreign = read_config(place)
    with folder.named(place / CONFIG):
        settings = _settings(foreign)
    arrays = weights.read(place, (WEIGHTS, "adapter_model.bin"))
    with folder.named(place / WEIGHTS):
        modules = _modules(arrays, foreign, settings)
        sites = peft_layers.match_sites(family, config, modules)
        layer_settings, adapters = peft_layers.to_ours(
            modules, sites, peft_layers.find_kernels(family, config), settings
        )
    return build(lora.Config, {**settings, **layer_settings}, "adapter"), adapters


def is_adapter(place: Path) -> bool:
    """Whether PEFT wrote the folder."""
    return (place / CONFIG).exists()


def read_config(place: Path) -> dict[str, Any]:
    """The folder's adapter_config.json. Raises UserError."""
    weights.check_file(place / CONFIG)
    return read_object(place / CONFIG, "name an adapter's folder, or fetch it again")


def save(
    place: Path,
    settings: lora.Config,
    adapters: PyTree,
    family: str,
    config: Any,
    architecture: str | None = None,
) -> None:
    """Writes a PEFT folder atomically, for the architecture (None: the first that fits the model).

    Layers that are one module there and do not share A get the sum of their ranks. Raises UserError
    if the folder is taken, or if only a part of such a module has a magnitude.
    """
    mapping = next(peft_layers.candidates(family, config, architecture))
    kernels = peft_layers.find_kernels(family, config)
    sites = peft_layers.find_sites(mapping.rules(config), kernels)
    modules = peft_layers.to_theirs(settings, adapters, sites, kernels)
    _check_taken(mapping, modules)
    ranks = {name: len(module.down) for name, module in modules.items()}
    foreign = {
        "peft_type": "LORA",
        "task_type": _task(family, config),
        "base_model_name_or_path": None,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "use_rslora": settings.scaling == "root_rank",
        "use_dora": settings.dora,
        "fan_in_fan_out": any(sites[name].plain for name in modules),
        "bias": "none",
        "target_modules": sorted(modules),
        "rank_pattern": {name: rank for name, rank in ranks.items() if rank != settings.rank},
        "alpha_pattern": {
            name: module.alpha for name, module in modules.items() if module.alpha != settings.alpha
        },
    }
    arrays = {}
    for name, module in modules.items():
        arrays[f"{PREFIX}{name}.{DOWN}"], arrays[f"{PREFIX}{name}.{UP}"] = module.down, module.up
        if module.magnitude is not None:
            arrays[f"{PREFIX}{name}.{MAGNITUDE}"] = module.magnitude
    with folder.drafted(place) as draft:
        (draft / CONFIG).write_text(json.dumps(foreign, indent=2) + "\n", "utf-8")
        tensors.write(
            draft / WEIGHTS, {name: np.ascontiguousarray(tensor) for name, tensor in arrays.items()}
        )


def _task(name: str, config: Any) -> str | None:
    """The task type by which PEFT chooses its wrapper class; models that generate have their
    own.
    """
    family = registry.load("models", name, "family")
    if family.scope_of(config) != "causal":
        return None
    return "SEQ_2_SEQ_LM" if family.needs_context else "CAUSAL_LM"


def _check_taken(mapping: ModelMapping[Any], modules: Iterable[str]) -> None:
    """Raises UserError for a module that PEFT cannot adapt in that architecture."""
    for name, remedy in mapping.not_adapted.items():
        if any(module.endswith(f".{name}") for module in modules):
            raise UserError(
                f"PEFT adapts no {name} of a {mapping.architectures[0]}; train with {remedy}, or "
                "merge without --form=peft and convert the whole"
            )


def _settings(foreign: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings, without those of single layers. Raises UserError for a field not supported."""
    used_fields = {
        name: value for name, value in foreign.items() if EXPECTED.get(name, 0) is not None or value
    }
    expect(used_fields, EXPECTED)
    init = foreign.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower().startswith(OTHER_BASE):
        raise UserError(
            f"init_lora_weights {init!r} changes the base too; convert the adapter with PEFT first"
        )
    return {
        "rank": take(foreign, "r", int, low=1),
        "alpha": float(take(foreign, "lora_alpha", float, 8.0, low=0)),
        "dropout": float(take(foreign, "lora_dropout", float, 0.0, low=0)),
        "scaling": "root_rank" if take(foreign, "use_rslora", bool, False) else "rank",
        "dora": take(foreign, "use_dora", bool, False),
    }


def _modules(
    arrays: Mapping[str, np.ndarray], foreign: Mapping[str, Any], settings: dict[str, Any]
) -> dict[str, Module]:
    """The modules of a file, by name.

    Raises UserError for a tensor that is unknown, missing or of a wrong shape.
    """
    parts: dict[str, dict[str, np.ndarray]] = {}
    part_names = (DOWN, UP, MAGNITUDE) if settings["dora"] else (DOWN, UP)
    for name, tensor in arrays.items():
        part = next((part for part in part_names if name.endswith(f".{part}")), None)
        if part is None or not name.startswith(PREFIX):
            raise UserError(f"tensor {name} is no part of the adapter that {CONFIG} describes")
        if tensor.dtype not in FLOATS:
            raise UserError(
                f"tensor {name} is {tensor.dtype}, not a floating-point number of 16, 32 or 64 bits"
            )
        parts.setdefault(name[len(PREFIX) : -len(part) - 1], {})[part] = tensor
    modules = {}
    for name, parts_of_module in parts.items():
        if missing := [part for part in part_names if part not in parts_of_module]:
            raise UserError(f"tensor {PREFIX}{name}.{missing[0]} is missing")
        down, up = parts_of_module[DOWN], parts_of_module[UP]
        if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
            raise UserError(
                f"tensor {PREFIX}{name}.{UP} has shape {list(up.shape)}, and A {list(down.shape)}"
            )
        for part, tensor in parts_of_module.items():
            if not np.isfinite(tensor).all():
                raise UserError(f"tensor {PREFIX}{name}.{part} has NaN or infinite numbers")
        modules[name] = Module(
            down, up, parts_of_module.get(MAGNITUDE), _alpha(foreign, settings, name)
        )
    if not modules:
        raise UserError("no adapter in it")
    return modules


def _alpha(foreign: Mapping[str, Any], settings: dict[str, Any], name: str) -> float:
    """The alpha of the first pattern that matches a module's name, or the end of it."""
    patterns = take(foreign, "alpha_pattern", dict, None) or {}
    alpha = next(
        (pattern_alpha for pattern, pattern_alpha in patterns.items() if _matches(pattern, name)),
        settings["alpha"],
    )
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha < 1e9:
        raise UserError(f"alpha_pattern must give numbers from 0 on, not {alpha!r}")
    return float(alpha)


def _matches(form: str, name: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({form})$", name) is not None
    except re.error as error:
        raise UserError(f"alpha_pattern has {form!r}, which is no pattern ({error})") from None
