"""Runs of every generative family that were never trained, and what one unpadded pass says of
them.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lm_lab import config as configs
from lm_lab.engine.sharding import unbox
from lm_lab.train import restore
from lm_lab.train.program import assemble, hyper_of
from lm_lab.train.task import Task, bind
from lm_lab.types import Inputs
from tests import tiny

LENGTH, END = 32, 256
SYNTHETIC = {"name": "synthetic", "documents": 16, "document_bytes": 64}

FAMILIES: dict[str, dict[str, Any]] = {
    "decoder": {"model": {"family": "decoder", "heads": 2, "positions": "learned"}},
    "mixture": {"model": {"family": "decoder", "heads": 2, "feed_forward": {"name": "experts"}}},
    "lstm": {"model": {"family": "rnn", "cell": "lstm"}},
    "mamba": {"model": {"family": "state_space"}},
    "griffin": {
        "model": {"family": "state_space", "block": "rg_lru", "heads": 2, "attention_every": 1}
    },
    "prefix": {"model": {"family": "decoder", "heads": 2}, "objective": {"name": "prefix"}},
    "encoder_decoder": {
        "model": {"family": "encoder_decoder", "heads": 2, "positions": "learned"},
        "objective": {"name": "continuation"},
    },
}


def task_of(name: str, changes: dict[str, Any] | None = None) -> Task:
    """The task of a tiny run of bytes."""
    return bind(*configs.resolve(tiny.config(_settings(name, changes))))


def _settings(name: str, changes: dict[str, Any] | None) -> dict[str, Any]:
    family = FAMILIES[name]
    return {
        "model": {"width": 16, "depth": 1, **family["model"]},
        "objective": family.get("objective", {"name": "causal"}),
        "data": {"source": SYNTHETIC, "length": LENGTH},
        "train.batch_size": 4,
        **(changes or {}),
    }


def params_of(task: Task) -> Any:
    """Parameters as they are drawn, far from uniform, so that contexts matter."""
    init, hyper = assemble(task).init, hyper_of(task.experiment)
    drawn = jax.jit(lambda: unbox(init(hyper, {})).params)()
    return jax.tree.map(lambda leaf: leaf * 2.5, drawn)


def store(directory: Path, task: Task, params: Any) -> None:
    """A run's directory with these parameters."""
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(dict(task.values)))
    restore.write_params(directory, jax.device_get(params))


def by_one_pass(task: Task, params: Any, given: list[int], target: list[int]) -> tuple[float, bool]:
    """(nats of the target, whether it is greedy), from one pass over one row without padding."""
    both = jnp.asarray([[*given, *target]])
    inputs = Inputs(both[:, :-1])
    if task.family.needs_context:
        inputs = Inputs(both[:, len(given) - 1 : -1], context=both[:, : len(given)])
    elif task.experiment.objective_name == "prefix":
        inputs = Inputs(both[:, :-1], prefix=jnp.arange(both.shape[1] - 1)[None] < len(given))
    logits = task.model.apply({"params": params}, inputs)[0, -len(target) :]
    nats = jax.nn.log_softmax(logits)[np.arange(len(target)), np.asarray(target)]
    return float(nats.sum()), bool((logits.argmax(-1) == np.asarray(target)).all())
