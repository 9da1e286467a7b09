"""Low-rank adapters as PEFT stores them: adapter_config.json beside adapter_model.safetensors.

PEFT has A [r, in] and B [out, r] of a module; ours are their transposes. Where one module there is several layers here
(GPT-2's c_attn is query, key and value), A is that of all and B holds their outputs one after another.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from lm_lab.adapters import lora
from lm_lab.interop import architectures, folder, mapping, tensors
from lm_lab.interop.fields import expect, take
from lm_lab.interop.mapping import Rule
from lm_lab.nn.trees import flatten, unflatten
from lm_lab.schema import build
from lm_lab.train.files import read_object
from lm_lab.train.restore import abstract_params
from lm_lab.types import PyTree, UserError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX, KERNEL, WEIGHT = "base_model.model.", "/kernel", ".weight"
DOWN, UP, MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
# What would change the mathematics and is not read: adapters of other kinds, and more that is trained.
EXPECTED = {
    "peft_type": "LORA",
    "bias": "none",
    "use_qalora": False,
    "lora_bias": False,
    **dict.fromkeys(("modules_to_save", "trainable_token_indices", "target_parameters", "layer_replication")),
    **dict.fromkeys(("megatron_config", "alora_invocation_tokens", "use_bdlora", "arrow_config", "kasa_config")),
    **dict.fromkeys(("velora_config", "monteclora_config")),
}
OTHER_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # beginnings that change the base as well


class Module(NamedTuple):
    """An adapted module there: y += A B x, with the scale in B."""

    down: np.ndarray  # [r, in]
    up: np.ndarray  # [out, r]
    magnitude: np.ndarray | None  # [out], of DoRA


class Site(NamedTuple):
    """Where a module there stands here."""

    paths: tuple[str, ...]  # layers of ours, whose outputs it has one after another
    row: int | None  # of our stacked leaves
    plain: bool  # whether its weight is [in, out], unlike torch's Linear's


def load(place: Path, family: str, config: Any) -> tuple[lora.Config, PyTree]:
    """(settings, adapters) of a PEFT folder, for a model of the family's config; the dtype is the file's.

    Layers of one kind have one rank here, the largest, and one scale: smaller ranks are filled up with zeros, and what
    another alpha scales goes into B. Raises UserError naming the file, and the field or the tensor at fault.
    """
    foreign = read_object(place / CONFIG, "name an adapter's folder, or fetch it again")
    with folder.named(place / CONFIG):
        settings = _settings(foreign)
    found = tensors.read(place / WEIGHTS)
    with folder.named(place / WEIGHTS):
        modules = _modules(found, foreign, settings)
        sites = _sites_of(family, config, modules)
        adapters = _ours(modules, sites, _kernels(family, config), settings)
    targets = tuple(sorted(lora.targets_of(adapters)))
    return build(lora.Config, {**settings, "targets": targets}, "adapter"), adapters


def save(
    place: Path, settings: lora.Config, adapters: PyTree, family: str, config: Any, architecture: str | None = None
) -> None:
    """Writes a PEFT folder whole, or nothing, for the architecture (None: the first that the model can be).

    Layers that are one module there and do not share A get one of their ranks' sum. Raises UserError where the folder
    is taken, or where only a part of such a module has a magnitude.
    """
    _, module = next(_candidates(family, config, architecture))
    sites = _sites(module.rules(config))
    modules = _theirs(settings, adapters, sites, _kernels(family, config))
    ranks = {name: len(own.down) for name, own in modules.items()}
    foreign = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
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
        "alpha_pattern": {},
    }
    found = {}
    for name, own in modules.items():
        found[f"{PREFIX}{name}.{DOWN}"], found[f"{PREFIX}{name}.{UP}"] = own.down, own.up
        if own.magnitude is not None:
            found[f"{PREFIX}{name}.{MAGNITUDE}"] = own.magnitude
    with folder.drafted(place) as draft:
        (draft / CONFIG).write_text(json.dumps(foreign, indent=2) + "\n", "utf-8")
        tensors.write(draft / WEIGHTS, {name: np.ascontiguousarray(tensor) for name, tensor in found.items()})


def _settings(foreign: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings, less the targets. Raises UserError naming a field that is not supported."""
    expect(foreign, EXPECTED)
    begun = foreign.get("init_lora_weights", True)
    if isinstance(begun, str) and begun.lower().startswith(OTHER_BASE):
        raise UserError(f"init_lora_weights {begun!r} changes the base too; convert the adapter with PEFT first")
    return {
        "rank": take(foreign, "r", int, low=1),
        "alpha": float(take(foreign, "lora_alpha", float, 8.0, low=0)),
        "dropout": float(take(foreign, "lora_dropout", float, 0.0, low=0)),
        "scaling": "root_rank" if take(foreign, "use_rslora", bool, False) else "rank",
        "dora": take(foreign, "use_dora", bool, False),
    }


def _modules(
    found: Mapping[str, np.ndarray], foreign: Mapping[str, Any], settings: dict[str, Any]
) -> dict[str, Module]:
    """The modules of a file, by name. Raises UserError naming a tensor that is strange, missing or misshaped."""
    parts: dict[str, dict[str, np.ndarray]] = {}
    wanted = (DOWN, UP, MAGNITUDE) if settings["dora"] else (DOWN, UP)
    for name, tensor in found.items():
        part = next((part for part in wanted if name.endswith(f".{part}")), None)
        if part is None or not name.startswith(PREFIX):
            raise UserError(f"tensor {name} is no part of the adapter that {CONFIG} describes")
        if tensor.dtype not in mapping.FLOATS:
            raise UserError(f"tensor {name} is {tensor.dtype}, not a floating-point number of 16, 32 or 64 bits")
        parts.setdefault(name[len(PREFIX) : -len(part) - 1], {})[part] = tensor
    modules = {}
    for name, own in parts.items():
        if missing := [part for part in wanted if part not in own]:
            raise UserError(f"tensor {PREFIX}{name}.{missing[0]} is missing")
        down, up = own[DOWN], own[UP]
        if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
            raise UserError(f"tensor {PREFIX}{name}.{UP} has shape {list(up.shape)}, and A {list(down.shape)}")
        modules[name] = Module(down, up * _scale(foreign, settings, name, len(down)), own.get(MAGNITUDE))
    if not modules:
        raise UserError("no adapter in it")
    return modules


def _scale(foreign: Mapping[str, Any], settings: dict[str, Any], name: str, rank: int) -> np.float32:
    """s of a module: its alpha is that of the first pattern that matches its name, or the end of it."""
    patterns = take(foreign, "alpha_pattern", dict, None) or {}
    alpha = next((own for form, own in patterns.items() if _matches(form, name)), settings["alpha"])
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise UserError(f"alpha_pattern must give numbers, not {alpha!r}")
    return np.float32(lora.Config(alpha=alpha, scaling=settings["scaling"]).scale(rank))


def _matches(form: str, name: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({form})$", name) is not None
    except re.error as error:
        raise UserError(f"alpha_pattern has {form!r}, which is no pattern ({error})") from None


def _ours(
    modules: Mapping[str, Module], sites: Mapping[str, Site], kernels: Mapping[str, Any], settings: dict[str, Any]
) -> PyTree:
    """Our adapters: the rows of a stacked leaf that no module has are zeros."""
    rows: dict[str, dict[int | None, Module]] = {}
    for name, own in modules.items():
        site = sites[name]
        outputs = [kernels[path].shape[-1] for path in site.paths]
        _check_shapes(name, own, kernels[site.paths[0]].shape[-2], sum(outputs))
        cuts = list(np.cumsum(outputs)[:-1])
        magnitudes = [None] * len(outputs) if own.magnitude is None else np.split(own.magnitude, cuts)
        for path, up, magnitude in zip(site.paths, np.split(own.up, cuts), magnitudes):
            rows.setdefault(path, {})[site.row] = Module(own.down, up, magnitude)
    leaves: dict[str, Any] = {}
    for path, own in rows.items():
        leaves |= {f"{path}/{name}": leaf for name, leaf in _stacked(path, own, kernels[path], settings).items()}
    return unflatten(leaves)


def _check_shapes(name: str, own: Module, inputs: int, outputs: int) -> None:
    rank = len(own.down)
    wanted = {DOWN: (own.down, (rank, inputs)), UP: (own.up, (outputs, rank)), MAGNITUDE: (own.magnitude, (outputs,))}
    for part, (tensor, shape) in wanted.items():
        if tensor is not None and tensor.shape != shape:
            shapes = f"{list(tensor.shape)}; the model asks for {list(shape)}"
            raise UserError(f"tensor {PREFIX}{name}.{part} has shape {shapes}")


def _stacked(
    path: str, own: Mapping[int | None, Module], kernel: Any, settings: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Our leaves of a layer, all rows of it."""
    rank = max(len(module.down) for module in own.values())
    scale = np.float32(lora.Config(alpha=settings["alpha"], scaling=settings["scaling"]).scale(rank)) or np.float32(1)
    some = next(iter(own.values()))
    inputs, outputs = kernel.shape[-2:]
    rows: list[int | None] = [None] if kernel.ndim == 2 else list(range(kernel.shape[0]))
    if settings["dora"] and len(own) < len(rows):
        missing = next(row for row in rows if row not in own)
        raise UserError(f"layer {missing} of {path} has no {MAGNITUDE}; adapt all layers, or none of them with DoRA")
    down = np.zeros((len(rows), inputs, rank), some.down.dtype)
    up = np.zeros((len(rows), rank, outputs), some.up.dtype)
    for place, row in enumerate(rows):
        if row in own:
            module = own[row]
            down[place, :, : len(module.down)] = module.down.T
            up[place, : len(module.down)] = module.up.T / scale
    leaves = {"down_kernel": down, "up_kernel": up}
    if settings["dora"]:
        leaves["magnitude"] = np.stack([np.asarray(own[row].magnitude) for row in rows])
    return {name: leaf[0] if kernel.ndim == 2 else leaf for name, leaf in leaves.items()}


def _theirs(
    settings: lora.Config, adapters: PyTree, sites: Mapping[str, Site], kernels: Mapping[str, Any]
) -> dict[str, Module]:
    """Their modules, of the adapters' dtype, B without the scale that the rank gives."""
    ours = lora.targets_of(adapters)
    if strange := sorted(ours.keys() - {path for site in sites.values() for path in site.paths}):
        raise UserError(f"the adapter of {strange[0]} has no place in that architecture")
    modules = {}
    for name, site in sites.items():
        parts = []
        for path in site.paths:
            own = {leaf: np.asarray(x if site.row is None else x[site.row]) for leaf, x in ours.get(path, {}).items()}
            parts.append((own, kernels[path].shape[-1]))
        if not any(own for own, _ in parts):
            continue
        if settings.dora and not all(own for own, _ in parts):
            raise UserError(f"PEFT's {name} is {', '.join(site.paths)}: adapt all of them with DoRA, or none")
        modules[name] = _joined(settings, parts)
    return modules


def _joined(settings: lora.Config, parts: Iterable[tuple[dict[str, np.ndarray], int]]) -> Module:
    """One module of several layers' parts (with their outputs): of one A where they share it."""
    parts = list(parts)
    there = [own for own, _ in parts if own]
    downs, dtype = [own["down_kernel"].T for own in there], there[0]["up_kernel"].dtype
    shared = all(down.shape == downs[0].shape and (down == downs[0]).all() for down in downs)
    down = downs[0] if shared else np.concatenate(downs)
    blocks, at = [], 0
    for own, outputs in parts:
        block = np.zeros((outputs, len(down)), dtype)
        if own:
            rank = own["down_kernel"].shape[1]
            at = 0 if shared else at
            ratio = settings.scale(rank) / settings.scale(len(down)) if settings.alpha else 1.0
            block[:, at : at + rank] = own["up_kernel"].T * np.float32(ratio)
            at += rank
        blocks.append(block)
    magnitude = np.concatenate([own["magnitude"] for own in there]) if settings.dora else None
    return Module(down, np.concatenate(blocks), magnitude)


def _kernels(family: str, config: Any) -> dict[str, Any]:
    """Shapes of the kernels by the path of their layer."""
    leaves = flatten(abstract_params(family, config))
    return {path.removesuffix(KERNEL): leaf for path, leaf in leaves.items() if path.endswith(KERNEL)}


def _candidates(family: str, config: Any, architecture: str | None) -> Iterator[tuple[str, ModuleType]]:
    """The architectures that the model can be, with their mappings. Raises UserError where there is none."""
    refusals, found = [], False
    for module in architectures.of_family(family):
        try:
            name = module.write_config(config)["architectures"][0]
        except UserError as error:
            refusals.append(str(error))
            continue
        if architecture in (None, name):
            found = True
            yield name, module
    if not found:
        raise UserError("; ".join(refusals) or f"a model of family {family} is no {architecture}; choose another")


def _sites(rules: Iterable[Rule]) -> dict[str, Site]:
    """Every module that has a kernel, by its name."""
    sites = {}
    for rule in rules:
        if len(rule.theirs) != 1 or not rule.theirs[0].endswith(WEIGHT):
            continue
        if all(path.endswith(KERNEL) for path in rule.ours):
            probe: np.ndarray = rule.write(*(np.zeros((2, 3)) for _ in rule.ours))[0]
            paths = tuple(path.removesuffix(KERNEL) for path in rule.ours)
            for row, (name,) in enumerate(rule.foreign()):
                place = None if rule.layers is None else row
                sites[name.removesuffix(WEIGHT)] = Site(paths, place, len(probe) == 2)
    return sites


def _sites_of(family: str, config: Any, modules: Iterable[str]) -> dict[str, Site]:
    """The sites of the architecture that has all the modules. Raises UserError naming one that none has."""
    unknown: list[str] = []
    for _, module in _candidates(family, config, None):
        sites = _sites(module.rules(config))
        unknown = sorted(set(modules) - sites.keys())
        if not unknown:
            return sites
    raise UserError(f"tensor {PREFIX}{unknown[0]}.{DOWN} is of a module that the model has not, or not as a kernel")
