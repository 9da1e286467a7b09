"""Loads a model from a run's directory, a transformers folder, or the Hugging Face hub."""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from lm_lab.data.hub import why
from lm_lab.interop import folder
from lm_lab.train import carried, restore
from lm_lab.types import PyTree, UserError

WEIGHTS = ("adapter_config.json", "*.safetensors", "*.safetensors.index.json")
WANTED = (*carried.SETTINGS, *carried.NAMES, *WEIGHTS, "additional_chat_templates/*")


def load(
    name: str | Path,
    dtype: str | None = None,
    *,
    allow_nonfinite: bool = False,
    average: bool = False,
) -> tuple[str, Any, PyTree]:
    """(family, its Config, NumPy parameters) of a run, a transformers folder or a hub's model.

    A name that is text may be a hub's. `dtype` None: a run's own; float32 for a foreign model. A
    foreign model may have NaN and infinite weights if allowed. `average`: of a run the moving
    average of its parameters. Raises UserError.
    """
    place = locate(name) if isinstance(name, str) else name
    if is_run(place):
        family, config, params = restore.load_params(place, average)
        cast = (
            params if dtype is None else jax.tree.map(lambda x: x.astype(jnp.dtype(dtype)), params)
        )
        return family, config, cast
    return folder.load(place, dtype or "float32", allow_nonfinite=allow_nonfinite)


def is_run(place: Path) -> bool:
    """Whether the config.json of a folder is one of ours. Raises UserError if there is none."""
    return "model" in folder.read_config(place)


def locate(name: str) -> Path:
    """The folder of that name, or the one into which the hub's model
    was fetched. Raises UserError.
    """
    place = Path(name).expanduser()
    if place.exists() or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        return place
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UserError(
            f"{name}: no such folder (from {Path.cwd()}); if it is a name of the Hugging Face hub, "
            "install huggingface_hub"
        )
    hub = importlib.import_module("huggingface_hub")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(WANTED)))
    except Exception as error:  # noqa: BLE001 - the client's errors have no base; it says why
        raise UserError(
            f"{name}: no such folder (from {Path.cwd()}), and the hub does not give it: "
            f"{why(error)}"
        ) from None
