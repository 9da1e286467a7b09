"""lm_lab's own contender: the program of `lm-lab train`, trained by
the rule of benchmarks/peers/shape.py.
"""

from typing import Any

import jax
from ml_collections import ConfigDict

from lm_lab.config import override
from tools.benchmarks.peers import shape as rule
from tools.benchmarks.peers.shape import Shape
from tools.benchmarks.trainer import Trainer
from tools.benchmarks.turns import Turn, timed


def config(shape: Shape, changes: dict[str, Any]) -> ConfigDict:
    """The config of a causal language model of the shape, with dotted keys changed."""
    settings = {
        "model.width": shape.width,
        "model.depth": shape.depth,
        "model.vocab": shape.vocab,
        "objective.name": "causal",
        "data.source": "synthetic",
        "data.tokenizer": "byte",
        "data.length": shape.length,
        "optimizer.peak_rate": rule.PEAK_RATE,
        "schedule.warmup_steps": rule.WARMUP_STEPS,
        "schedule.final_fraction": rule.FINAL_FRACTION,
        "optimizer.beta1": rule.BETA1,
        "optimizer.beta2": rule.BETA2,
        "optimizer.epsilon": rule.EPSILON,
        "optimizer.weight_decay": rule.WEIGHT_DECAY,
        "optimizer.clip_norm": rule.CLIP_NORM,
        "train.steps": rule.STEPS,
        "train.batch_size": shape.batch_size,
        "train.steps_per_call": 10,
        "train.eval_batches": 1,
    }
    return override(ConfigDict(), settings | changes)


def contender(shape: Shape, params: int, changes: dict[str, Any]) -> Turn:
    """Calls the program of `config` as lm_lab/train/loop.py does, after checking its number of
    parameters.
    """
    trainer = Trainer(config(shape, changes))
    assert trainer.program.program.params["total"] == params

    def take_turn() -> None:
        metrics = None
        for _ in range(shape.steps // trainer.steps):
            metrics = trainer.call()
        jax.block_until_ready(metrics)

    return timed(take_turn)
