"""A folder as the transformers library writes it: config.json beside model.safetensors, whole or in shards."""

import contextlib
import importlib.util
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

from lm_lab import registry
from lm_lab.durable import fsync, fsync_tree
from lm_lab.interop import architectures, mapping, tensors
from lm_lab.interop.fields import expect
from lm_lab.nn.trees import flatten
from lm_lab.schema import build, suggest
from lm_lab.train.files import explained, read_object
from lm_lab.train.preemption import Signals
from lm_lab.train.restore import abstract_params
from lm_lab.types import PyTree, UserError

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in this order; each may come in shards, with an index


def load(folder: Path, dtype: str = "float32") -> tuple[str, Any, PyTree]:
    """(family, its Config, NumPy parameters of the dtype). Raises UserError naming the file and the tensor or field."""
    foreign = read_config(folder)
    with named(folder / "config.json"):
        module = architectures.find(_architecture(foreign))
        expect(foreign, {"quantization_config": None})
        family = registry.find("models", module.FAMILY, "family")
        config = build(family.Config, module.read_config(foreign), module.ARCHITECTURES[0])
    found = _read_tensors(folder)
    with named(folder):
        rules = module.rules(config)
        found = _prefixed(module, _renamed(module, found))
        shapes = {path: leaf.shape for path, leaf in flatten(abstract_params(module.FAMILY, config)).items()}
        ignored = getattr(module, "IGNORED", ())
        params = mapping.to_ours(rules, found, shapes=shapes, ignored=ignored, dtype=jnp.dtype(dtype))
    return module.FAMILY, config, params


def save(
    folder: Path,
    family: str,
    config: Any,
    params: PyTree,
    architecture: str | None = None,
    beside: Sequence[Path] = (),
) -> str:
    """Writes a model whole, with copies of the files `beside`, or nothing; returns the architecture: the one asked for,
    or the first that fits.

    Raises UserError where the folder is taken, or naming the setting that the architecture cannot express.
    """
    module, foreign = _describe(family, config, architecture)
    found = mapping.to_theirs(module.rules(config), params)
    foreign["dtype"] = str(next(iter(found.values())).dtype)
    with drafted(folder) as draft:
        (draft / "config.json").write_text(json.dumps(foreign, indent=2) + "\n", "utf-8")
        tensors.write(draft / WEIGHTS[0], found)
        for path in beside:
            shutil.copy(path, draft)
    return foreign["architectures"][0]


def _describe(family: str, config: Any, architecture: str | None) -> tuple[ModuleType, dict[str, Any]]:
    """The mapping and the foreign config of a model."""
    refusals = []
    for module in architectures.of_family(family):
        if architecture is not None and architecture not in module.ARCHITECTURES:
            continue
        try:
            foreign = module.write_config(config)
        except UserError as error:
            refusals.append(str(error))
            continue
        if architecture in (None, foreign["architectures"][0]):
            return module, foreign
        refusals.append(f"its settings are those of {foreign['architectures'][0]}, not of {architecture}")
    known = sorted(name for module in architectures.of_family(family) for name in module.ARCHITECTURES)
    raise UserError(
        "; ".join(refusals) or f"a model of family {family} is no {architecture}; {suggest(str(architecture), known)}"
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises UserError."""
    return read_object(folder / "config.json", "name a model's folder, or fetch it again")


@contextlib.contextmanager
def drafted(folder: Path) -> Iterator[Path]:
    """A draft that becomes the folder, durably, when the block ends, and vanishes when it raises, at a signal too.

    Raises UserError where the folder is there and not empty, or cannot be written.
    """
    place = folder.absolute()  # "." has no name
    draft = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        with Signals("raise"), explained(folder, "write"):
            check_free(folder)
            draft.mkdir(parents=True)
            yield draft
            fsync_tree(draft)
            draft.replace(place)
            fsync(place.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_free(folder: Path) -> None:
    """Raises UserError where a file, or a folder that is not empty, has the name."""
    with explained(folder, "write"):
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise UserError(f"{folder} is taken; choose another folder, or delete it")


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Puts the path before what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _architecture(foreign: Mapping[str, Any]) -> str:
    named = foreign.get("architectures")
    if not isinstance(named, list) or len(named) != 1 or not isinstance(named[0], str):
        raise UserError(f"architectures must be a list with one name, not {named!r}")
    return named[0]


def _read_tensors(folder: Path) -> dict[str, np.ndarray]:
    for name in WEIGHTS:
        read = tensors.read if name.endswith(".safetensors") else _read_pytorch
        if (folder / name).exists():
            return read(folder / name)
        if (folder / f"{name}.index.json").exists():
            return _read_shards(folder / f"{name}.index.json", read)
    raise UserError(f"{folder}: no {' or '.join(WEIGHTS)} there; is this a model's folder?")


def _read_shards(index: Path, read: Any) -> dict[str, np.ndarray]:
    shards = read_object(index, "fetch it again").get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise UserError(f"{index}: weight_map must say in which file each tensor is")
    found: dict[str, np.ndarray] = {}
    for name in sorted(set(shards.values())):
        if Path(name).name != name:
            raise UserError(f"{index}: {name!r} is no file beside it")
        for tensor, values in read(index.with_name(name)).items():
            if shards.get(tensor) != name:
                raise UserError(f"{index.with_name(name)}: tensor {tensor} is not where {index.name} says")
            found[tensor] = values
    if missing := sorted(shards.keys() - found.keys()):
        raise UserError(f"{index}: tensor {missing[0]} is not in {shards[missing[0]]}")
    return found


def _read_pytorch(path: Path) -> dict[str, np.ndarray]:
    """PyTorch's own format, by its loader that runs no code of the file."""
    if importlib.util.find_spec("torch") is None:
        raise UserError(f"{path}: reading a PyTorch file needs torch; install it, or save the model as safetensors")
    torch = importlib.import_module("torch")
    try:
        with warnings.catch_warnings(action="ignore"):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - a file can make its parser fail in any way
        raise UserError(
            f"{path}: no PyTorch file of weights alone ({type(error).__name__}); save it as safetensors"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        raise UserError(f"{path}: no tensors by name; save the model's state_dict, better as safetensors")
    return {name: _numpy(torch, path, name, tensor.detach()) for name, tensor in found.items()}


def _numpy(torch: Any, path: Path, name: str, tensor: Any) -> np.ndarray:
    if tensor.dtype == torch.bfloat16:  # NumPy has none of its own
        return tensor.float().numpy()
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError):
        kind = f"{tensor.dtype}, {tensor.layout}"
        raise UserError(f"{path}: tensor {name} is {kind}, which is not supported") from None


def _renamed(module: ModuleType, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors under the names that their endings have today."""
    for old, new in getattr(module, "RENAMED", {}).items():
        found = {f"{name.removesuffix(old)}{new}" if name.endswith(old) else name: x for name, x in found.items()}
    return found


def _prefixed(module: ModuleType, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors under the names of the rules, which a bare model leaves the prefix out of."""
    prefix = getattr(module, "PREFIX", "")
    if not prefix or any(name.startswith(prefix) for name in found):
        return found
    return {f"{prefix}{name}": tensor for name, tensor in found.items()}
