"""On-policy batches: each step trains on texts that the parameters of that step wrote."""

import jax
import jax.numpy as jnp

from lm_lab.types import Examples, Inputs


def batch(model, rows, length):
    """An Engine.batch of one member: examples [1 K rows length] that the parameters of the state
    wrote, each row after a token of its own; the same ones of the same state.
    """

    @jax.jit
    def write(params, key):
        def more(place, tokens):
            logits = model.apply({"params": params}, Inputs(tokens))[:, place - 1]
            drawn = jax.random.categorical(jax.random.fold_in(key, place), logits)
            return tokens.at[:, place].set(drawn)

        begun = jnp.tile(jnp.arange(rows)[:, None], (1, length))
        return jax.lax.fori_loop(1, length, more, begun)

    def written(first_step, steps, state):
        params = jax.tree.map(lambda leaf: leaf[0], state.params)
        keys = map(jax.random.key, range(first_step, first_step + steps))
        texts = [write(params, key) for key in keys]
        tokens = jnp.stack(texts)[None]
        return Examples(tokens, jnp.ones(tokens.shape), jnp.ones_like(tokens))

    return written
