"""The tensors of a transformers folder, whole or in shards, as safetensors or PyTorch files."""

import importlib
import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lm_lab.interop import tensors
from lm_lab.runs.reading import read_object
from lm_lab.types import UserError

FILES = (
    "model.safetensors",
    "pytorch_model.bin",
)  # tried in this order; each may come in shards, with an index
LARGEST_TEXT = 100_000_000  # largest JSON file, in bytes


def read(folder: Path, files: Sequence[str] = FILES) -> dict[str, np.ndarray]:
    """Every tensor by name, from the first of the files that exists, whole or in shards.

    Tensors of safetensors are memory-mapped. Raises UserError naming the file.
    """
    for name in files:
        read = _read_safetensors if name.endswith(".safetensors") else _read_pytorch
        if (folder / name).exists():
            return read(folder / name)
        if (folder / f"{name}.index.json").exists():
            return _read_shards(folder / f"{name}.index.json", read)
    raise UserError(f"{folder}: no {' or '.join(files)} there; is this a model's folder?")


def check_file(path: Path) -> None:
    """Raises UserError for what is no regular file (a pipe would never end), or a huge text."""
    try:
        usual, size = path.is_file(), path.stat().st_size
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror or error}") from None
    if not usual:
        raise UserError(f"{path} is no file; fetch it again")
    if path.suffix == ".json" and size > LARGEST_TEXT:
        raise UserError(
            f"{path}: {size:,} bytes of JSON are more than any model has; fetch it again"
        )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    if path.exists():
        check_file(path)
    return tensors.read(path)


def _read_shards(index: Path, read: Any) -> dict[str, np.ndarray]:
    check_file(index)
    shards = read_object(index, "fetch it again").get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise UserError(f"{index}: weight_map must say in which file each tensor is")
    arrays: dict[str, np.ndarray] = {}
    for name in sorted(set(shards.values())):
        if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
            raise UserError(f"{index}: {name!r} is no file beside it")
        for tensor, values in read(index.with_name(name)).items():
            if shards.get(tensor) != name:
                raise UserError(
                    f"{index.with_name(name)}: tensor {tensor} is not where {index.name} says"
                )
            arrays[tensor] = values
    if missing := sorted(shards.keys() - arrays.keys()):
        raise UserError(f"{index}: tensor {missing[0]} is not in {shards[missing[0]]}")
    return arrays


def _read_pytorch(path: Path) -> dict[str, np.ndarray]:
    """Reads PyTorch's format by its loader that runs no code of the file."""
    check_file(path)
    if importlib.util.find_spec("torch") is None:
        raise UserError(
            f"{path}: reading a PyTorch file needs torch; install it, or save the model as "
            "safetensors"
        )
    torch = importlib.import_module("torch")
    try:
        with warnings.catch_warnings(action="ignore"):
            arrays = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - a file can make its parser fail in any way
        raise UserError(
            f"{path}: no PyTorch file of weights alone ({type(error).__name__}); save it as "
            "safetensors"
        ) from None
    if not isinstance(arrays, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in arrays.items()
    ):
        raise UserError(
            f"{path}: no tensors by name; save the model's state_dict, better as safetensors"
        )
    return {name: _numpy(torch, path, name, tensor.detach()) for name, tensor in arrays.items()}


def _numpy(torch: Any, path: Path, name: str, tensor: Any) -> np.ndarray:
    if tensor.dtype == torch.bfloat16:  # NumPy has no bfloat16 of its own
        return tensor.float().numpy()
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError):
        kind = f"{tensor.dtype}, {tensor.layout}"
        raise UserError(f"{path}: tensor {name} is {kind}, which is not supported") from None
