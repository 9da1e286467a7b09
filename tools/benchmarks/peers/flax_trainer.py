"""Shared by the Flax contenders: AdamW as in benchmarks/peers/shape.py, and one call a step."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jax import Array

from tools.benchmarks.peers import shape as settings
from tools.benchmarks.peers.shape import Shape
from tools.benchmarks.turns import Turn, timed


def optimizer() -> optax.GradientTransformation:
    rate = optax.warmup_cosine_decay_schedule(
        0.0,
        settings.PEAK_RATE,
        settings.WARMUP_STEPS,
        settings.STEPS,
        settings.FINAL_FRACTION * settings.PEAK_RATE,
    )
    adamw = optax.adamw(
        rate, settings.BETA1, settings.BETA2, settings.EPSILON, weight_decay=settings.WEIGHT_DECAY
    )
    return optax.chain(optax.clip_by_global_norm(settings.CLIP_NORM), adamw)


def trainer(
    shape: Shape,
    model: Any,
    params_count: int,
    loss: Callable[[Array, Array], Array],
    metric: Callable[[dict], Array | None] = lambda _: None,
) -> Turn:
    """Turns of a model with `params_count` parameters and a loss(logits, targets); `metric` is a
    function of the gradients.
    """
    update = optimizer()
    windows = np.random.default_rng(0).integers(
        shape.vocab, size=(shape.batch_size, shape.length + 1), dtype=np.int32
    )
    params = jax.jit(model.init)(jax.random.key(0), windows[:1, 1:])["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == params_count

    def of_windows(params: dict, windows: Array) -> Array:
        return loss(model.apply({"params": params}, windows[:, :-1]), windows[:, 1:])

    @partial(jax.jit, donate_argnums=0)
    def step(state: tuple, windows: Array) -> tuple:
        params, opt_state = state
        value, grads = jax.value_and_grad(of_windows)(params, windows)
        updates, opt_state = update.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), (value, metric(grads))

    state = (params, jax.jit(update.init)(params))

    def take_turn() -> None:
        nonlocal state
        metrics = None
        for _ in range(shape.steps):
            state, metrics = step(state, windows)
        jax.block_until_ready(metrics)

    return timed(take_turn)
