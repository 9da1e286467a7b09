"""Converts adapted modules of PEFT into adapters of our layers, and back.

PEFT has A [r, in] and B [out, r] of a module; ours are their transposes. One module of PEFT may be
several of our layers (GPT-2's c_attn is query, key and value): these share A, and B holds their
outputs one after another.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lm_lab.adapters import lora
from lm_lab.interop import architectures, nearest
from lm_lab.interop.mapping import ModelMapping, Rule
from lm_lab.nn.trees import flatten, unflatten
from lm_lab.train.restore import abstract_params
from lm_lab.types import PyTree, UserError

PREFIX, KERNEL, WEIGHT = "base_model.model.", "/kernel", ".weight"
DOWN, UP, MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"


class Module(NamedTuple):
    """An adapted module of PEFT: y += s B A x, with the scale s from alpha and r."""

    down: np.ndarray  # [r, in]
    up: np.ndarray  # [out, r]
    magnitude: np.ndarray | None  # [out], only with DoRA
    alpha: float


class Site(NamedTuple):
    """The place of a PEFT module among our layers."""

    # The rule of its weight, and so of B: which outputs belong to which of our layers.
    rule: Rule
    paths: tuple[str, ...]  # our layers
    row: int | None  # of our stacked leaves
    plain: bool  # whether its weight is [in, out], unlike that of torch's Linear

    def cut(self, up: np.ndarray) -> list[np.ndarray]:
        """Splits B [out, r] into that of each layer, [its outputs, r]."""
        return [part.T for part in self.rule.read(up.T if self.plain else up)]

    def join(self, ups: Sequence[np.ndarray]) -> np.ndarray:
        """The inverse of `cut`."""
        (up,) = self.rule.write(*(part.T for part in ups))
        return up.T if self.plain else up


def to_ours(
    modules: Mapping[str, Module],
    sites: Mapping[str, Site],
    kernels: Mapping[str, Any],
    settings: dict[str, Any],
) -> tuple[dict[str, Any], PyTree]:
    """(settings of single layers, adapters). Rows of a stacked leaf without a module get rank 0."""
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
    """The entries of lora.Config for the layers of a path with other values than the default."""
    first, *others = values.values()
    if all(value == first for value in others):
        return [] if first == default else [f"{path}={first}"]
    return [f"{path}/{row}={value}" for row, value in sorted(values.items()) if value != default]  # type: ignore[type-var]


def _check_shapes(name: str, module: Module, inputs: int, outputs: int) -> None:
    rank = len(module.down)
    expected = {
        DOWN: (module.down, (rank, inputs)),
        UP: (module.up, (outputs, rank)),
        MAGNITUDE: (module.magnitude, (outputs,)),
    }
    for part, (tensor, shape) in expected.items():
        if tensor is not None and tensor.shape != shape:
            shapes = f"{list(tensor.shape)}; the model asks for {list(shape)}"
            raise UserError(f"tensor {PREFIX}{name}.{part} has shape {shapes}")


def _stacked(
    path: str,
    modules: Mapping[int | None, Module],
    stack: list[int | None],
    kernel: Any,
    dora: bool,
) -> dict[str, np.ndarray]:
    """Our leaves of a layer, with all rows of the stack."""
    rank = max(len(module.down) for module in modules.values())
    sample = next(iter(modules.values()))
    inputs, outputs = kernel.shape[-2:]
    if dora and len(modules) < len(stack):
        missing = next(row for row in stack if row not in modules)
        raise UserError(
            f"layer {missing} of {path} has no {MAGNITUDE}; adapt all layers, or none of them with "
            "DoRA"
        )
    down = np.zeros((len(stack), inputs, rank), sample.down.dtype)
    up = np.zeros((len(stack), rank, outputs), sample.up.dtype)
    for index, row in enumerate(stack):
        if row in modules:
            module = modules[row]
            down[index, :, : len(module.down)] = module.down.T
            up[index, : len(module.down)] = module.up.T
    leaves = {"down_kernel": down, "up_kernel": up}
    if dora:
        leaves["magnitude"] = np.stack([np.asarray(modules[row].magnitude) for row in stack])
    return {name: leaf[0] if stack == [None] else leaf for name, leaf in leaves.items()}


class Part(NamedTuple):
    """The part of a PEFT module that is one of our layers; without an adapter, only its width."""

    outputs: int
    scale: float = 0.0
    alpha: float = 0.0
    down: np.ndarray | None = None  # [r, in]
    up: np.ndarray | None = None  # [out, r]
    magnitude: np.ndarray | None = None


def to_theirs(
    settings: lora.Config, adapters: PyTree, sites: Mapping[str, Site], kernels: Mapping[str, Any]
) -> dict[str, Module]:
    """The modules as PEFT has them, in the adapters' dtype."""
    ours = lora.targets_of(settings, adapters)
    if strange := sorted(ours.keys() - {path for site in sites.values() for path in site.paths}):
        raise UserError(
            f"the adapter of {strange[0]} has no place in that architecture; use --form=run, or "
            "train one whose config.adapter.targets leave that layer out"
        )
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
    settings: lora.Config,
    path: str,
    row: int | None,
    adapter: Mapping[str, Any] | None,
    kernel: Any,
) -> Part:
    layers = None if len(kernel.shape) == 2 else kernel.shape[0]
    index = () if row is None else row
    rank = int(settings.ranks_of(path, layers)[index])
    if adapter is None or not rank:
        return Part(kernel.shape[-1])
    leaves = {name: np.asarray(leaf)[index] for name, leaf in adapter.items()}
    scale, alpha = (
        float(per_layer(path, layers)[index])
        for per_layer in (settings.scales_of, settings.alphas_of)
    )
    down, up = leaves["down_kernel"].T[:rank], leaves["up_kernel"].T[:, :rank]
    return Part(kernel.shape[-1], scale, alpha, down, up, leaves.get("magnitude"))


def _joined(settings: lora.Config, site: Site, parts: Sequence[Part]) -> Module:
    """Joins the parts of several layers into one module.

    If they do not share A, the ranks add up, and B makes up for the scale that the larger rank
    gives.
    """
    adapted = [part for part in parts if part.down is not None and part.up is not None]
    downs = [part.down for part in adapted if part.down is not None]
    shared = all(down.shape == downs[0].shape and (down == downs[0]).all() for down in downs)
    down = downs[0] if shared else np.concatenate(downs)
    alpha = adapted[0].alpha if shared else settings.alpha
    scale = alpha / (len(down) if settings.scaling == "rank" else len(down) ** 0.5)
    blocks, offset = [], 0
    for part in parts:
        block = np.zeros((part.outputs, len(down)), downs[0].dtype)
        if part.up is not None:
            rank = part.up.shape[1]
            offset = 0 if shared else offset
            block[:, offset : offset + rank] = part.up * np.float32(
                part.scale / scale if scale else 1.0
            )
            offset += rank
        blocks.append(block)
    magnitudes = [part.magnitude[:, None] for part in adapted if part.magnitude is not None]
    return Module(
        down, site.join(blocks), site.join(magnitudes)[:, 0] if magnitudes else None, alpha
    )


def find_kernels(family: str, config: Any) -> dict[str, Any]:
    """Shapes of the kernels by the path of their layer."""
    leaves = flatten(abstract_params(family, config))
    return {
        path.removesuffix(KERNEL): leaf for path, leaf in leaves.items() if path.endswith(KERNEL)
    }


def candidates(family: str, config: Any, architecture: str | None) -> Iterator[ModelMapping[Any]]:
    """The mappings of the architectures that can express the model.

    Raises UserError if there is none.
    """
    refusals, has_candidate = [], False
    for mapping in architectures.of_family(family):
        try:
            mapping.write_config(config)
        except UserError as error:
            refusals.append(str(error))
            continue
        if architecture in (None, mapping.architectures[0]):
            has_candidate = True
            yield mapping
    if not has_candidate:
        if not refusals:
            raise UserError(f"a model of family {family} is no {architecture}; choose another")
        reason = "; ".join(refusals) if architecture else nearest.NONE_FITS
        raise UserError(reason + nearest.described(family, config, architecture))


def find_sites(rules: Iterable[Rule], kernels: Mapping[str, Any]) -> dict[str, Site]:
    """The site of every module with a kernel, by the module's name."""
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


def match_sites(family: str, config: Any, modules: Iterable[str]) -> dict[str, Site]:
    """The sites of the architecture that has all the modules.

    Raises UserError naming a module that no architecture has.
    """
    kernels = find_kernels(family, config)
    sites_of_architectures = [
        find_sites(mapping.rules(config), kernels) for mapping in candidates(family, config, None)
    ]
    sites = min(sites_of_architectures, key=lambda sites: len(set(modules) - sites.keys()))
    unknown = sorted(set(modules) - sites.keys())
    if not unknown:
        return sites
    raise UserError(
        f"tensor {PREFIX}{unknown[0]}.{DOWN} is of a module that the model has not, or not as a "
        "kernel"
    )
