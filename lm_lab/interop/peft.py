"""Low-rank adapters as PEFT stores them: adapter_config.json beside adapter_model.safetensors.

PEFT has A [r, in] and B [out, r] of a module; ours are their transposes. Where one module there is
several layers here (GPT-2's c_attn is query, key and value), they share A, and B holds their
outputs one after another. Ranks and alphas of single modules become settings: so the adapter is
trained here as it is there.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from lm_lab.adapters import lora
from lm_lab.interop import architectures, folder, mapping, tensors, weights
from lm_lab.interop.fields import expect, take
from lm_lab.interop.mapping import Rule
from lm_lab.nn.trees import flatten, unflatten
from lm_lab.runs.files import read_object
from lm_lab.schema import build
from lm_lab.train.restore import abstract_params
from lm_lab.types import PyTree, UserError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX, KERNEL, WEIGHT = "base_model.model.", "/kernel", ".weight"
DOWN, UP, MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
# What would change the mathematics and is not read: adapters of other kinds, and more that is
# trained.
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
)  # beginnings that change the base as well


class Module(NamedTuple):
    """An adapted module there: y += s B A x, with s of alpha and r."""

    down: np.ndarray  # [r, in]
    up: np.ndarray  # [out, r]
    magnitude: np.ndarray | None  # [out], of DoRA
    alpha: float


class Site(NamedTuple):
    """Where a module there stands here."""

    # of its weight, which is that of B too: where each output of our layers is among its own
    rule: Rule
    paths: tuple[str, ...]  # layers of ours
    row: int | None  # of our stacked leaves
    plain: bool  # whether its weight is [in, out], unlike torch's Linear's

    def cut(self, up: np.ndarray) -> list[np.ndarray]:
        """What of B [out, r] is of each layer, [its outputs, r]."""
        return [part.T for part in self.rule.read(up.T if self.plain else up)]

    def join(self, ups: Sequence[np.ndarray]) -> np.ndarray:
        """The inverse."""
        (up,) = self.rule.write(*(part.T for part in ups))
        return up.T if self.plain else up


def load(place: Path, family: str, config: Any) -> tuple[lora.Config, PyTree]:
    """(settings, adapters) of a PEFT folder, for a model of the family's config; the dtype is the
    file's.

    Layers of a stack are arrays of one rank, the largest: smaller ones are filled up with zeros.
    Raises UserError naming the file, and the field or the tensor at fault.
    """
    foreign = read_config(place)
    with folder.named(place / CONFIG):
        settings = _settings(foreign)
    found = weights.read(place, (WEIGHTS, "adapter_model.bin"))
    with folder.named(place / WEIGHTS):
        modules = _modules(found, foreign, settings)
        sites = _sites_of(family, config, modules)
        own, adapters = _ours(modules, sites, _kernels(family, config), settings)
    return build(lora.Config, {**settings, **own}, "adapter"), adapters


def is_adapter(place: Path) -> bool:
    """Whether the folder is one that PEFT writes."""
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
    """Writes a PEFT folder whole, or nothing, for the architecture (None: the first that the model
    can be).

    Layers that are one module there and do not share A get one of their ranks' sum. Raises
    UserError where the folder is taken, or where only a part of such a module has a magnitude.
    """
    _, module = next(_candidates(family, config, architecture))
    kernels = _kernels(family, config)
    sites = _sites(module.rules(config), kernels)
    modules = _theirs(settings, adapters, sites, kernels)
    _check_taken(module, modules)
    ranks = {name: len(own.down) for name, own in modules.items()}
    foreign = {
        "peft_type": "LORA",
        "task_type": _task(config),
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
            name: own.alpha for name, own in modules.items() if own.alpha != settings.alpha
        },
    }
    found = {}
    for name, own in modules.items():
        found[f"{PREFIX}{name}.{DOWN}"], found[f"{PREFIX}{name}.{UP}"] = own.down, own.up
        if own.magnitude is not None:
            found[f"{PREFIX}{name}.{MAGNITUDE}"] = own.magnitude
    with folder.drafted(place) as draft:
        (draft / CONFIG).write_text(json.dumps(foreign, indent=2) + "\n", "utf-8")
        tensors.write(
            draft / WEIGHTS, {name: np.ascontiguousarray(tensor) for name, tensor in found.items()}
        )


def _task(config: Any) -> str | None:
    """By what class PEFT wraps the model: one that generates has ways that others lack."""
    if config.scope != "causal":
        return None
    return "SEQ_2_SEQ_LM" if config.reads_context else "CAUSAL_LM"


def _check_taken(module: ModuleType, modules: Iterable[str]) -> None:
    """Raises UserError for a module that PEFT does not adapt in that architecture."""
    for name, remedy in getattr(module, "NOT_ADAPTED", {}).items():
        if any(own.endswith(f".{name}") for own in modules):
            raise UserError(
                f"PEFT adapts no {name} of a {module.ARCHITECTURES[0]}; train with {remedy}, or "
                "merge without --form=peft and convert the whole"
            )


def _settings(foreign: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings, less those of single layers. Raises UserError naming a field that is not
    supported.
    """
    given = {
        name: value for name, value in foreign.items() if EXPECTED.get(name, 0) is not None or value
    }
    expect(given, EXPECTED)
    begun = foreign.get("init_lora_weights", True)
    if isinstance(begun, str) and begun.lower().startswith(OTHER_BASE):
        raise UserError(
            f"init_lora_weights {begun!r} changes the base too; convert the adapter with PEFT first"
        )
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
    """The modules of a file, by name. Raises UserError naming a tensor that is strange, missing or
    misshaped.
    """
    parts: dict[str, dict[str, np.ndarray]] = {}
    wanted = (DOWN, UP, MAGNITUDE) if settings["dora"] else (DOWN, UP)
    for name, tensor in found.items():
        part = next((part for part in wanted if name.endswith(f".{part}")), None)
        if part is None or not name.startswith(PREFIX):
            raise UserError(f"tensor {name} is no part of the adapter that {CONFIG} describes")
        if tensor.dtype not in mapping.FLOATS:
            raise UserError(
                f"tensor {name} is {tensor.dtype}, not a floating-point number of 16, 32 or 64 bits"
            )
        parts.setdefault(name[len(PREFIX) : -len(part) - 1], {})[part] = tensor
    modules = {}
    for name, own in parts.items():
        if missing := [part for part in wanted if part not in own]:
            raise UserError(f"tensor {PREFIX}{name}.{missing[0]} is missing")
        down, up = own[DOWN], own[UP]
        if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
            raise UserError(
                f"tensor {PREFIX}{name}.{UP} has shape {list(up.shape)}, and A {list(down.shape)}"
            )
        for part, tensor in own.items():
            if not np.isfinite(tensor).all():
                raise UserError(f"tensor {PREFIX}{name}.{part} has NaN or infinite numbers")
        modules[name] = Module(down, up, own.get(MAGNITUDE), _alpha(foreign, settings, name))
    if not modules:
        raise UserError("no adapter in it")
    return modules


def _alpha(foreign: Mapping[str, Any], settings: dict[str, Any], name: str) -> float:
    """That of the first pattern that matches a module's name, or the end of it."""
    patterns = take(foreign, "alpha_pattern", dict, None) or {}
    alpha = next((own for form, own in patterns.items() if _matches(form, name)), settings["alpha"])
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha < 1e9:
        raise UserError(f"alpha_pattern must give numbers from 0 on, not {alpha!r}")
    return float(alpha)


def _matches(form: str, name: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({form})$", name) is not None
    except re.error as error:
        raise UserError(f"alpha_pattern has {form!r}, which is no pattern ({error})") from None


def _ours(
    modules: Mapping[str, Module],
    sites: Mapping[str, Site],
    kernels: Mapping[str, Any],
    settings: dict[str, Any],
) -> tuple[dict[str, Any], PyTree]:
    """(settings of single layers, adapters): the rows of a stacked leaf that no module has are of
    rank 0.
    """
    rows: dict[str, dict[int | None, Module]] = {}
    for name, own in modules.items():
        site = sites[name]
        outputs = [kernels[path].shape[-1] for path in site.paths]
        _check_shapes(name, own, kernels[site.paths[0]].shape[-2], sum(outputs))
        magnitudes: list[np.ndarray | None] = [None] * len(outputs)
        if own.magnitude is not None:
            magnitudes = [part[:, 0] for part in site.cut(own.magnitude[:, None])]
        for path, up, magnitude in zip(site.paths, site.cut(own.up), magnitudes):
            rows.setdefault(path, {})[site.row] = own._replace(up=up, magnitude=magnitude)
    groups = {sites[name].paths for name in modules if len(sites[name].paths) > 1}
    sharers = {path for group in groups for path in group[1:]}
    leaves: dict[str, Any] = {}
    ranks, alphas = [], []
    for path, own in rows.items():
        stack: list[int | None] = (
            [None] if len(kernels[path].shape) == 2 else list(range(kernels[path].shape[0]))
        )
        ranks += _entries(
            path, {row: len(own[row].down) if row in own else 0 for row in stack}, settings["rank"]
        )
        alphas += _entries(
            path, {row: module.alpha for row, module in own.items()}, settings["alpha"]
        )
        stacked = _stacked(path, own, stack, kernels[path], settings["dora"])
        leaves |= {
            f"{path}/{name}": leaf
            for name, leaf in stacked.items()
            if name != "down_kernel" or path not in sharers
        }
    single = {"targets": sorted(rows), "ranks": ranks, "alphas": alphas, "shared": sorted(groups)}
    return single, unflatten(leaves)


def _entries(path: str, values: Mapping[int | None, float], default: float) -> list[str]:
    """What lora.Config says of the layers of a path whose values are not the default."""
    first, *others = values.values()
    if all(value == first for value in others):
        return [] if first == default else [f"{path}={first}"]
    return [f"{path}/{row}={value}" for row, value in sorted(values.items()) if value != default]  # type: ignore[type-var]


def _check_shapes(name: str, own: Module, inputs: int, outputs: int) -> None:
    rank = len(own.down)
    wanted = {
        DOWN: (own.down, (rank, inputs)),
        UP: (own.up, (outputs, rank)),
        MAGNITUDE: (own.magnitude, (outputs,)),
    }
    for part, (tensor, shape) in wanted.items():
        if tensor is not None and tensor.shape != shape:
            shapes = f"{list(tensor.shape)}; the model asks for {list(shape)}"
            raise UserError(f"tensor {PREFIX}{name}.{part} has shape {shapes}")


def _stacked(
    path: str, own: Mapping[int | None, Module], stack: list[int | None], kernel: Any, dora: bool
) -> dict[str, np.ndarray]:
    """Our leaves of a layer, all rows of the stack."""
    rank = max(len(module.down) for module in own.values())
    some = next(iter(own.values()))
    inputs, outputs = kernel.shape[-2:]
    if dora and len(own) < len(stack):
        missing = next(row for row in stack if row not in own)
        raise UserError(
            f"layer {missing} of {path} has no {MAGNITUDE}; adapt all layers, or none of them with "
            "DoRA"
        )
    down = np.zeros((len(stack), inputs, rank), some.down.dtype)
    up = np.zeros((len(stack), rank, outputs), some.up.dtype)
    for place, row in enumerate(stack):
        if row in own:
            module = own[row]
            down[place, :, : len(module.down)] = module.down.T
            up[place, : len(module.down)] = module.up.T
    leaves = {"down_kernel": down, "up_kernel": up}
    if dora:
        leaves["magnitude"] = np.stack([np.asarray(own[row].magnitude) for row in stack])
    return {name: leaf[0] if stack == [None] else leaf for name, leaf in leaves.items()}


class Part(NamedTuple):
    """What one layer of ours is in a module there; without an adapter only as wide as its outputs."""

    outputs: int
    scale: float = 0.0
    alpha: float = 0.0
    down: np.ndarray | None = None  # [r, in]
    up: np.ndarray | None = None  # [out, r]
    magnitude: np.ndarray | None = None


def _theirs(
    settings: lora.Config, adapters: PyTree, sites: Mapping[str, Site], kernels: Mapping[str, Any]
) -> dict[str, Module]:
    """Their modules, of the adapters' dtype."""
    ours = lora.targets_of(settings, adapters)
    if strange := sorted(ours.keys() - {path for site in sites.values() for path in site.paths}):
        raise UserError(f"the adapter of {strange[0]} has no place in that architecture")
    modules = {}
    for name, site in sites.items():
        parts = [
            _part(settings, path, site.row, ours.get(path), kernels[path]) for path in site.paths
        ]
        if not any(part.down is not None for part in parts):
            continue
        if settings.dora and not all(part.down is not None for part in parts):
            raise UserError(
                f"PEFT's {name} is {', '.join(site.paths)}: adapt all of them with DoRA, or none"
            )
        modules[name] = _joined(settings, site, parts)
    return modules


def _part(
    settings: lora.Config, path: str, row: int | None, own: Mapping[str, Any] | None, kernel: Any
) -> Part:
    layers = None if len(kernel.shape) == 2 else kernel.shape[0]
    place = () if row is None else row
    rank = int(settings.ranks_of(path, layers)[place])
    if own is None or not rank:
        return Part(kernel.shape[-1])
    leaves = {name: np.asarray(leaf)[place] for name, leaf in own.items()}
    scale, alpha = (
        float(of(path, layers)[place]) for of in (settings.scales_of, settings.alphas_of)
    )
    down, up = leaves["down_kernel"].T[:rank], leaves["up_kernel"].T[:, :rank]
    return Part(kernel.shape[-1], scale, alpha, down, up, leaves.get("magnitude"))


def _joined(settings: lora.Config, site: Site, parts: Sequence[Part]) -> Module:
    """One module of several layers' parts: of one A where they share it, else of the sum of their
    ranks, where B makes up for the scale that this gives.
    """
    there = [part for part in parts if part.down is not None and part.up is not None]
    downs = [part.down for part in there if part.down is not None]
    shared = all(down.shape == downs[0].shape and (down == downs[0]).all() for down in downs)
    down = downs[0] if shared else np.concatenate(downs)
    alpha = there[0].alpha if shared else settings.alpha
    scale = alpha / (len(down) if settings.scaling == "rank" else len(down) ** 0.5)
    blocks, at = [], 0
    for part in parts:
        block = np.zeros((part.outputs, len(down)), downs[0].dtype)
        if part.up is not None:
            rank = part.up.shape[1]
            at = 0 if shared else at
            block[:, at : at + rank] = part.up * np.float32(part.scale / scale if scale else 1.0)
            at += rank
        blocks.append(block)
    magnitudes = [part.magnitude[:, None] for part in there if part.magnitude is not None]
    return Module(
        down, site.join(blocks), site.join(magnitudes)[:, 0] if magnitudes else None, alpha
    )


def _kernels(family: str, config: Any) -> dict[str, Any]:
    """Shapes of the kernels by the path of their layer."""
    leaves = flatten(abstract_params(family, config))
    return {
        path.removesuffix(KERNEL): leaf for path, leaf in leaves.items() if path.endswith(KERNEL)
    }


def _candidates(
    family: str, config: Any, architecture: str | None
) -> Iterator[tuple[str, ModuleType]]:
    """The architectures that the model can be, with their mappings. Raises UserError where there is
    none.
    """
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
        raise UserError(
            "; ".join(refusals)
            or f"a model of family {family} is no {architecture}; choose another"
        )


def _sites(rules: Iterable[Rule], kernels: Mapping[str, Any]) -> dict[str, Site]:
    """Every module that has a kernel, by its name."""
    sites = {}
    for rule in rules:
        if len(rule.theirs) != 1 or not rule.theirs[0].endswith(WEIGHT):
            continue
        if all(path.endswith(KERNEL) for path in rule.ours):
            paths = tuple(path.removesuffix(KERNEL) for path in rule.ours)
            probe: np.ndarray = rule.write(
                *(np.zeros((1, kernels[path].shape[-1])) for path in paths)
            )[0]
            for row, (name,) in enumerate(rule.foreign()):
                place = None if rule.layers is None else row
                sites[name.removesuffix(WEIGHT)] = Site(rule, paths, place, len(probe) == 1)
    return sites


def _sites_of(family: str, config: Any, modules: Iterable[str]) -> dict[str, Site]:
    """The sites of the architecture that has all the modules. Raises UserError naming one that none
    has.
    """
    kernels = _kernels(family, config)
    found = [
        _sites(module.rules(config), kernels) for _, module in _candidates(family, config, None)
    ]
    sites = min(found, key=lambda sites: len(set(modules) - sites.keys()))
    unknown = sorted(set(modules) - sites.keys())
    if not unknown:
        return sites
    raise UserError(
        f"tensor {PREFIX}{unknown[0]}.{DOWN} is of a module that the model has not, or not as a "
        "kernel"
    )
