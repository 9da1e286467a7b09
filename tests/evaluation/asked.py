"""Runs of every generative family that were never trained, and what one unpadded pass says of
them.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lm_lab import config as configs
from lm_lab.runs.config import write_config
from lm_lab.train import restore
from lm_lab.train.program import example_batch
from lm_lab.train.task import Task, bind
from lm_lab.types import Inputs
from tests import tiny

LENGTH, END = 8, 256
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


def params_of(task: Task, seed: int = 0) -> Any:
    """Parameters as they are drawn, far from uniform, so that contexts matter."""
    drawn = tiny.params_of(task.model, example_batch(task).inputs, seed)
    return jax.tree.map(lambda leaf: leaf * 2.5, drawn)


def store(directory: Path, task: Task, params: Any) -> None:
    """A run's directory with these parameters."""
    directory.mkdir()
    write_config(directory, dict(task.values))
    restore.write_params(directory, jax.device_get(params))


def by_one_pass(task: Task, params: Any, given: list[int], target: list[int]) -> tuple[float, bool]:
    """(nats of the target, whether it is greedy), from one pass over one row without padding."""
    logits = logits_of(task, params, given, target[:-1])[-len(target) :]
    nats = jax.nn.log_softmax(logits)[np.arange(len(target)), np.asarray(target)]
    return float(nats.sum()), bool((logits.argmax(-1) == np.asarray(target)).all())


def written(task: Task, params: Any, given: list[int], tokens: int) -> list[int]:
    """The likeliest tokens after those given, each by a pass of its own."""
    found: list[int] = []
    for _ in range(tokens):
        found.append(int(logits_of(task, params, given, found, learnt=False)[-1].argmax()))
    return found


def logits_of(
    task: Task, params: Any, given: list[int], shown: list[int], learnt: bool = True
) -> jax.Array:
    """f32[L V] of one row: tokens that are given, and more that are shown after them. `learnt`:
    a prefix model sees what is given as in training, and not as text that is gone on from.
    """
    row = jnp.asarray([[*given, *shown]])
    inputs = Inputs(row)
    if task.family.needs_context:
        inputs = Inputs(row[:, len(given) - 1 :], context=row[:, : len(given)])
    elif task.experiment.objective.name == "prefix" and learnt:
        inputs = Inputs(row, prefix=jnp.arange(row.shape[1])[None] < len(given))
    return _apply(task.model, params, inputs)[0]


@partial(jax.jit, static_argnums=0)
def _apply(model: Any, params: Any, inputs: Inputs) -> jax.Array:
    return model.apply({"params": params}, inputs)
