"""Configs and models in Python, from a file, a dict or another run."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from lm_lab import config as configs
from lm_lab import contracts, registry
from lm_lab.engine.sharding import unbox
from lm_lab.schema import build, check_read
from lm_lab.types import Inputs, PyTree, UserError

Source = str | Path | Mapping[str, Any] | configs.ConfigDict
"""A config: the path of a config file ("configs/shapes.py:llama" gives it an argument), a dict of
sections, or a ConfigDict.
"""


def load_config(source: Source, changes: Mapping[str, Any] | None = None) -> configs.ConfigDict:
    """A config from a file or a dict, with dotted keys changed. Keys and values are checked where
    the config is used (`bind`, `train_run`).

    Where a config names a model, an objective, ... the value itself may stand (a Family, an
    Objective, ... of lm_lab.contracts), also one that a notebook defines: it is named by its
    variable, as "__main__:FOCAL".

    >>> config = lm_lab.load_config({"model": {"family": "decoder"}}, {"model.depth": 3})
    >>> config.model.depth
    3
    """
    if isinstance(source, str | Path):
        config = configs.load(str(source))
    elif isinstance(source, configs.ConfigDict):
        config = source
    elif isinstance(source, Mapping):
        config = configs.wrap(_named(source))
    else:
        kind = type(source).__name__
        raise UserError(f"source must be a path, a dict or a ConfigDict, not a {kind}")
    return configs.override(config, _named(changes or {}))


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values, with each value of a contract replaced by its name."""
    return {
        key: _named(value)
        if isinstance(value, Mapping)
        else registry.name_of(value)
        if isinstance(value, contracts.Contract)
        else value
        for key, value in values.items()
    }


def make_model(family: str, **settings: Any) -> Any:
    """The Linen module of a family, by its settings (`lm-lab keys model.decoder` lists them):
    `vocab` must be given, and `length`, the longest sequence where positions are learned, is 1024
    if not.

    apply({"params": params}, Inputs(tokens)) gives logits f32[B L V], and apply(...,
    method="features") the features before the readout, [B L D].

    >>> model = lm_lab.make_model("decoder", width=16, depth=1, heads=2, vocab=32)
    >>> params = lm_lab.init_params(model)
    >>> apply = jax.jit(model.apply)
    >>> apply({"params": params}, lm_lab.Inputs(jnp.zeros((2, 8), int))).shape
    (2, 8, 32)
    """
    module = registry.load("models", family, "family")
    if settings.get("vocab") is None:
        raise UserError(f"{family}.vocab is missing: rows of the embedding, V")
    fields = {field.name for field in dataclasses.fields(module.Config)}
    lengths = {"length": 1024} if "length" in fields else {}
    config = build(module.Config, lengths | settings, family)
    check_read(config, settings, family)
    return module.Model(config)


def init_params(model: Any, seed: int = 0) -> PyTree:
    """Parameters of a model as a run of that seed would begin with, a dict of arrays.

    >>> model = lm_lab.make_model("decoder", width=16, depth=1, heads=2, vocab=32)
    >>> lm_lab.init_params(model, seed=1)["embed"]["embedding"].shape
    (32, 16)
    """
    tokens = jnp.zeros((1, 2), jnp.int32)
    inputs = Inputs(tokens, context=tokens)  # models without an encoder ignore the context
    key = jax.random.key(jnp.uint32(seed))
    return jax.jit(lambda key: unbox(model.init(key, inputs)["params"]))(key)
