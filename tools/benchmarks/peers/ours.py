"""lm_lab's own contender: the program of `lm-lab train`, trained by
the rule of benchmarks/peers/shape.py.
"""

from typing import Any

import jax
from ml_collections import ConfigDict

from lm_lab.config import override, resolve
from lm_lab.train.compiled import compile_program
from lm_lab.train.task import bind
from tools.benchmarks.peers import shape as rule
from tools.benchmarks.peers.shape import Shape
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
    """Builds and calls the program of `config` as lm_lab/train/loop.py does, after checking its
    number of parameters.
    """
    task = bind(*resolve(config(shape, changes)))
    steps_per_call = task.experiment.train.steps_per_call
    compiled = compile_program([task])
    assert compiled.program.params["total"] == params
    state = compiled.start()
    examples = compiled.engine.batch(0, steps_per_call, state)

    def take_turn() -> None:
        nonlocal state
        metrics = None
        for _ in range(shape.steps // steps_per_call):
            state, metrics = compiled.engine.step(state, examples)
        jax.block_until_ready(metrics)

    return timed(take_turn)
