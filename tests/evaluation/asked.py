"""Runs of every generative family that were never trained, and what one pass over one row says of
them, with no padding before it.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax

from lm_lab import config as configs
from lm_lab.runs.config import write_config
from lm_lab.train import restore
from lm_lab.train.shapes import example_inputs
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
    drawn = tiny.params_of(task.model, example_inputs(task), seed)
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf) * np.float32(2.5)), drawn)


def store(directory: Path, task: Task, params: Any) -> None:
    """A run's directory with these parameters."""
    directory.mkdir()
    write_config(directory, dict(task.values))
    restore.write_params(directory, jax.device_get(params))


def by_one_pass(task: Task, params: Any, given: list[int], target: list[int]) -> tuple[float, bool]:
    """(nats of the target, whether it is greedy), from one pass over one row."""
    logits = logits_of(task, params, given, target[:-1])[-len(target) :]
    nats = log_softmax(logits, axis=-1)[np.arange(len(target)), target]
    return float(nats.sum()), bool((logits.argmax(-1) == np.asarray(target)).all())


def written(task: Task, params: Any, given: list[int], tokens: int) -> list[int]:
    """The likeliest tokens after those given, each by a pass of its own."""
    found: list[int] = []
    for _ in range(tokens):
        found.append(int(logits_of(task, params, given, found, learnt=False)[-1].argmax()))
    return found


def logits_of(
    task: Task, params: Any, given: list[int], shown: list[int], learnt: bool = True
) -> np.ndarray:
    """f64[L V] of one row: tokens that are given, and more that are shown after them. `learnt`:
    a prefix model sees what is given as in training, and not as text that is gone on from.
    """
    ids = [*given, *shown]
    begin = len(given) - 1 if task.family.needs_context else 0
    # Causal: what stands behind a row changes none of its logits, and rows of one length are of one
    # program.
    behind = max(0, begin + (LENGTH // 2 if task.family.needs_context else LENGTH) - len(ids))
    row = jnp.asarray(np.asarray([ids + behind * [0]], np.int32))
    inputs = Inputs(row)
    if task.family.needs_context:
        inputs = Inputs(row[:, begin:], context=row[:, : len(given)])
    elif task.experiment.objective.name == "prefix" and learnt:
        inputs = Inputs(row, prefix=jnp.asarray(np.arange(row.shape[1])[None] < len(given)))
    return np.asarray(_apply(task.model, params, inputs), np.float64)[0, : len(ids) - begin]


@partial(jax.jit, static_argnums=0)
def _apply(model: Any, params: Any, inputs: Inputs) -> jax.Array:
    return model.apply({"params": params}, inputs)
