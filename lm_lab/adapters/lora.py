"""Low-rank adapters (2106.09685): y = x (W + s A B), with W frozen, and A [in, r] and B [r, out]
trained.

A tree of adapters has, at the path of each adapted Linear, `down_kernel` (A), `up_kernel` (B) and,
for DoRA, `magnitude` [out]; for stacked layers they are stacked too. Layers that share A store it
at the first of them. Where ranks differ within a stack, the columns of A and rows of B beyond a
layer's own rank are 0, and stay 0, as the gradient of each is a product with the other.
lm_lab/nn/linear.py applies what `collection` makes of one or several such trees.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal
from zlib import crc32

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lm_lab.contracts import Adapter
from lm_lab.nn.paths import chosen, matches
from lm_lab.nn.roles import Parameter, Role, roles
from lm_lab.nn.trees import flatten, unflatten, union
from lm_lab.schema import setting
from lm_lab.types import AdapterFunctions, PyTree, UserError

KERNEL = "/kernel"
Adapters = PyTree


@dataclass(frozen=True)
class Config:
    """The fields of a config's adapter section."""

    rank: int = setting("columns of A and rows of B, r", 8, low=1)
    alpha: float = setting("the numerator of the scale s", 16.0, above=0.0)
    scaling: Literal["rank", "root_rank"] = setting(
        "s is alpha / r, or alpha / sqrt(r) (2312.03732)", "rank"
    )
    dropout: float = setting("probability that an input of A is dropped", 0.0, low=0.0, high=0.99)
    dora: bool = setting(
        "whether the lengths of the adapted kernel's columns are learnt (2402.09353)", False
    )
    targets: tuple[str, ...] = setting("patterns of the paths of adapted layers", ("*/*",))
    also_train: tuple[str, ...] = setting(
        "patterns of the paths of parameters that are trained in full", ()
    )
    ranks: tuple[str, ...] = setting(
        "other ranks: 'attention/query=4', or of layer 3 alone 'attention/query/3=4'", ()
    )
    alphas: tuple[str, ...] = setting(
        "other alphas, in the same form; the last that matches counts", ()
    )
    shared: tuple[tuple[str, ...], ...] = setting(
        "groups of layers, by their whole paths, that have one A", ()
    )
    continues: bool = setting(
        "whether it goes on with the adapter of train.initial's run, not beside it", False
    )

    def __post_init__(self) -> None:
        if not self.targets and not self.also_train:
            raise UserError(
                "targets and also_train are empty, and nothing would be trained; name some, as "
                "['*/*']"
            )
        for name, texts in self.others.items():
            for text in texts:
                _parsed(name, text)
        paths = [path for group in self.shared for path in group]
        if len(set(paths)) < len(paths) or not all(len(group) > 1 for group in self.shared):
            raise UserError(
                "shared must be groups of two paths or more, each path in one group, not "
                f"{self.shared!r}"
            )

    @property
    def others(self) -> dict[str, tuple[str, ...]]:
        """The entries of layers with a rank or an alpha of their own, by the setting."""
        return {"ranks": self.ranks, "alphas": self.alphas}

    def ranks_of(self, path: str, layers: int | None) -> np.ndarray:
        """r of a layer, i64[], or of each of a stack's, i64[layers]."""
        return _values("ranks", self.ranks, self.rank, path, layers).astype(int)

    def alphas_of(self, path: str, layers: int | None) -> np.ndarray:
        """Alpha of a layer, f64[], or of each of a stack's, f64[layers]."""
        return _values("alphas", self.alphas, self.alpha, path, layers)

    def scales_of(self, path: str, layers: int | None) -> np.ndarray:
        """s of a layer, f64[], or of each of a stack's, f64[layers]."""
        ranks = np.maximum(self.ranks_of(path, layers), 1)
        return self.alphas_of(path, layers) / (ranks if self.scaling == "rank" else ranks**0.5)


def _parsed(name: str, text: str) -> tuple[str, float]:
    """(pattern, number) of 'pattern=number'. Raises UserError."""
    pattern, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not pattern or not 0 <= value < 1e9 or (name == "ranks" and not value.is_integer()):
        raise UserError(
            f"{name} has {text!r}; it is a list of 'pattern=number', as in 'attention/query=4'"
        )
    return pattern, value


def _values(
    name: str, entries: tuple[str, ...], default: float, path: str, layers: int | None
) -> np.ndarray:
    """The number that the entries give for a layer [], or for each layer of a stack [layers]."""
    values = np.full(() if layers is None else (layers,), default, np.float64)
    for pattern, value in (_parsed(name, text) for text in entries):
        for row in np.ndindex(values.shape):
            if matches(pattern, "/".join([path, *map(str, row)])):
                values[row] = value
    return values


def _layers(kernel: Any) -> int | None:
    """The number of layers of the stack that a kernel (or its A or B) belongs to; None for a layer
    by itself.
    """
    return kernel.shape[0] if len(kernel.shape) > 2 else None


def make(config: Config) -> AdapterFunctions:
    """The adapter of a run: it trains {"lora": adapters, "params": parameters trained in full}."""

    def split(key: Array, params: PyTree) -> tuple[PyTree, PyTree]:
        leaves = flatten(params)
        full = chosen(config.also_train, leaves, "config.adapter.also_train")
        frozen = unflatten({path: leaf for path, leaf in leaves.items() if path not in full})
        trained = {"lora": init(key, config, frozen)}
        if full:
            trained["params"] = unflatten({path: leaves[path] for path in full})
        return trained, frozen

    def variables(trained: PyTree, frozen: PyTree, dtype: Any) -> PyTree:
        params = union(frozen, trained.get("params", {}))
        cast = jax.tree.map(lambda x: x.astype(dtype), params)
        return {
            "params": cast,
            "lora": collection({"default": config}, {"default": trained["lora"]}),
        }

    def merged(trained: PyTree, frozen: PyTree) -> PyTree:
        return union(merge(config, trained["lora"], frozen)[0], trained.get("params", {}))

    return AdapterFunctions(split, variables, merged)


def init(key: Array, config: Config, params: PyTree) -> Adapters:
    """Adapters in the parameters' dtype that change nothing at first: A uniform in +-in^-1/2, B 0,
    and DoRA's lengths those of W.

    Kernels can be adapted, as told by their roles (nn/roles.py). A target's A depends on the key
    and its own path alone. Logical axes are the kernel's; the rank has none. Raises UserError for a
    pattern that matches no kernel of a Linear, and for layers that cannot share A.
    """
    role_of = flatten(roles(params))
    kernels = {
        path.removesuffix(KERNEL): leaf
        for path, leaf in flatten(params).items()
        if role_of[path].is_kernel and path.endswith(KERNEL)
    }
    if config.targets and not kernels:
        raise UserError(
            "config.adapter.targets: no layer has a kernel to adapt beside what also_train names "
            "(embeddings have none); choose config.adapter.name=freeze, or none"
        )
    adapters: dict[str, Any] = {}
    paths = sorted(chosen(config.targets, kernels, "config.adapter.targets"))
    plain = {path: nn.meta.unbox(kernels[path]) for path in paths}
    _check_entries(config, plain)
    sharers = {path for group in config.shared for path in group[1:]}
    for path in paths:
        adapter = _init(jax.random.fold_in(key, crc32(path.encode())), config, path, plain[path])
        for name, leaf in adapter.items():
            if name != "down_kernel" or path not in sharers:
                adapters[f"{path}/{name}"] = _boxed(name, leaf, kernels[path])
    return unflatten(adapters)


def _check_entries(config: Config, kernels: Mapping[str, Array]) -> None:
    """Raises UserError for an entry that matches no adapted layer, and for a group of layers that
    cannot share A.
    """
    layers = {path: _layers(kernel) for path, kernel in kernels.items()}
    for name, texts in config.others.items():
        for text in texts:
            one = (text,)
            if not any(
                (_values(name, one, -1.0, path, count) >= 0).any() for path, count in layers.items()
            ):
                raise UserError(
                    f"config.adapter.{name}: {text!r} is of no adapted layer; see "
                    "config.adapter.targets"
                )
    for group in config.shared:
        if missing := [path for path in group if path not in kernels]:
            raise UserError(
                f"config.adapter.shared: {missing[0]} is not adapted; choose among "
                f"{', '.join(kernels)}"
            )
        first = group[0]
        for path in group[1:]:
            ranks = (config.ranks_of(p, layers[p]).tolist() for p in (first, path))
            if (
                kernels[path].shape[:-1] != kernels[first].shape[:-1]
                or len(set(map(str, ranks))) > 1
            ):
                raise UserError(
                    f"config.adapter.shared: {path} has other inputs or another rank than {first}"
                )


def _init(key: Array, config: Config, path: str, kernel: Array) -> dict[str, Array]:
    *layers, inputs, outputs = kernel.shape
    bound, ranks = inputs**-0.5, config.ranks_of(path, _layers(kernel))
    rank = max(1, int(ranks.max()))
    down = jax.random.uniform(key, (*layers, inputs, rank), jnp.float32, -bound, bound)
    if (ranks != rank).any():
        down *= jnp.arange(rank) < ranks.reshape(*ranks.shape, *(1,) * (down.ndim - ranks.ndim))
    adapter = {"down_kernel": down, "up_kernel": jnp.zeros((*layers, rank, outputs))}
    if config.dora:
        adapter["magnitude"] = _lengths(kernel.astype(jnp.float32))
    return {name: leaf.astype(kernel.dtype) for name, leaf in adapter.items()}


def _boxed(name: str, leaf: Array, kernel: Any) -> Any:
    """The leaf with the kernel's logical axes, and a role in the same part of the model; unchanged
    if the kernel has no box.
    """
    if not isinstance(kernel, Parameter):
        return leaf
    *layers, inputs, outputs = kernel.names
    axes = {"down_kernel": (inputs, None), "up_kernel": (None, outputs), "magnitude": (outputs,)}
    role = Role("vector" if name == "magnitude" else "low_rank", kernel.role.part)
    return Parameter(leaf, (*layers, *axes[name]), role=role)


def _lengths(kernel: Array) -> Array:
    """The lengths of the columns, f32[... out]."""
    return jnp.sqrt((kernel * kernel).sum(-2))


def collection(
    configs: Mapping[str, Config],
    adapters: Mapping[str, Adapters],
    active: Mapping[str, Array | float] | None = None,
) -> PyTree:
    """The "lora" collection in which the named adapters add up.

    `active` gives the factor of each adapter that applies: 0 or 1 (arrays, so that one compiled
    program serves all), or the shares of a mixture. None: all, with factor 1. The term of each
    adapter is computed from the base alone.
    """
    leaves: dict[str, Any] = {}
    for name in adapters if active is None else active:
        for path, adapter in targets_of(configs[name], adapters[name]).items():
            applied = dict(adapter)
            layers = adapter["up_kernel"].shape[:-2]
            applied["up_kernel"] = adapter["up_kernel"] * _scale(
                configs[name], path, adapter["up_kernel"]
            )
            if configs[name].dropout:
                applied["keep"] = jnp.full(layers, 1 - configs[name].dropout, jnp.float32)
            if active is not None:
                applied["weight"] = jnp.broadcast_to(jnp.asarray(active[name], jnp.float32), layers)
            leaves |= {f"{path}/{name}/{leaf}": value for leaf, value in applied.items()}
    return unflatten(leaves)


def targets_of(config: Config, adapters: Adapters) -> dict[str, dict[str, Array]]:
    """The leaves of each adapted layer, by its path; a shared leaf is in each layer that
    shares it.
    """
    layers: dict[str, dict[str, Array]] = {}
    for path, leaf in flatten(adapters).items():
        layer, _, name = path.rpartition("/")
        layers.setdefault(layer, {})[name] = leaf
    for first, *further in config.shared:
        for path in further:
            layers[path]["down_kernel"] = layers[first]["down_kernel"]
    return layers


def _scale(config: Config, path: str, up_kernel: Array) -> Any:
    """s of a layer; where the layers of a stack differ, f32[layers 1 ...], which multiplies B."""
    scales = config.scales_of(path, _layers(up_kernel))
    if (scales == scales.flat[0]).all():
        return float(scales.flat[0])
    return jnp.asarray(scales, jnp.float32).reshape(-1, *(1,) * (up_kernel.ndim - 1))


def merge(config: Config, adapters: Adapters, params: PyTree) -> tuple[PyTree, PyTree]:
    """(parameters that compute the same without the adapter, the lengths by which `unmerge` undoes
    DoRA).

    Computed in float32, and rounded once to the parameters' dtype: for a bfloat16 kernel
    `merge_error` says how much that loses. Cast the parameters to float32 first to lose nothing.
    """
    leaves, lengths = flatten(params), {}
    for path, adapter in targets_of(config, adapters).items():
        kernel = _kernel(leaves, path)
        adapted = kernel.astype(jnp.float32) + _delta(config, path, adapter)
        if "magnitude" in adapter:
            lengths[f"{path}/length"] = _lengths(adapted)
            adapted *= (adapter["magnitude"] / lengths[f"{path}/length"])[..., None, :]
        leaves[path + KERNEL] = adapted.astype(kernel.dtype)
    return unflatten(leaves), unflatten(lengths)


def unmerge(config: Config, adapters: Adapters, merged: PyTree, lengths: PyTree) -> PyTree:
    """The parameters before `merge`, to the rounding of their dtype; lengths are those that it
    returned.
    """
    leaves, lengths_by_path = flatten(merged), flatten(lengths)
    for path, adapter in targets_of(config, adapters).items():
        kernel = _kernel(leaves, path)
        adapted = kernel.astype(jnp.float32)
        if "magnitude" in adapter:
            adapted *= (lengths_by_path[f"{path}/length"] / adapter["magnitude"])[..., None, :]
        leaves[path + KERNEL] = (adapted - _delta(config, path, adapter)).astype(kernel.dtype)
    return unflatten(leaves)


def merge_error(config: Config, adapters: Adapters, params: PyTree) -> float:
    """The rounding error of merging in the parameters' dtype, as a share of the adapters' change
    (both root mean squares).
    """
    leaves = flatten(params)
    exact = {
        path: _kernel(leaves, path).astype(jnp.float32) for path in targets_of(config, adapters)
    }
    ideal, rounded = (
        flatten(
            merge(
                config,
                adapters,
                unflatten({path + KERNEL: kernel for path, kernel in kernels.items()}),
            )[0]
        )
        for kernels in (exact, {path: _kernel(leaves, path) for path in exact})
    )
    lost = sum(
        float(((rounded[path].astype(jnp.float32) - ideal[path]) ** 2).sum()) for path in ideal
    )
    changed = sum(
        float(((ideal[path + KERNEL] - kernel) ** 2).sum()) for path, kernel in exact.items()
    )
    return (lost / changed) ** 0.5 if changed else 0.0


def count(adapters: Adapters) -> dict[str, int]:
    """Parameters and bytes: r (in + out) for each kernel, and `out` more for DoRA."""
    leaves = jax.tree.leaves(adapters)
    sizes = [prod(leaf.shape) for leaf in leaves]
    return {
        "parameters": sum(sizes),
        "bytes": sum(n * leaf.dtype.itemsize for n, leaf in zip(sizes, leaves)),
    }


def _kernel(leaves: Mapping[str, Array], path: str) -> Array:
    if path + KERNEL not in leaves:
        raise UserError(
            f"the adapter is of a layer {path}, which the model has not; choose the model that "
            "it is of"
        )
    return leaves[path + KERNEL]


def _delta(config: Config, path: str, adapter: Mapping[str, Array]) -> Array:
    """s A B in float32, whatever precision the device's products have by default."""
    down, up = (adapter[name].astype(jnp.float32) for name in ("down_kernel", "up_kernel"))
    return _scale(config, path, up) * jnp.matmul(down, up, precision="highest")


ADAPTER = Adapter(Config, make, continues=lambda config: config.continues)
