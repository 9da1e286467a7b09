"""Rates that carry over: the width and the depth of a model leave what its features do in a step.

The figures of a whole transfer are in experiments/mup_transfer.md.
"""

import jax
import jax.numpy as jnp
import pytest

from lm_lab.engine.sharding import unbox
from lm_lab.train import program
from tests import tiny

FAMILIES = {
    "decoder": {"family": "decoder"},
    "encoder_decoder": {"family": "encoder_decoder"},
    "lstm": {"family": "rnn"},
    "mamba": {"family": "state_space"},
}
RATE = 0.02


def moved(family, width, depth=2, **transfer):
    """How far the logits of random tokens are after some steps from where they began, r.m.s."""
    model = {**FAMILIES[family], "width": width, "depth": depth, "scan": True, **transfer}
    if "heads" in vars(tiny.model(model["family"]).cfg) and family != "mamba":
        model["heads"] = width // 8
    changes = {"model": model, "optimizer.peak_rate": RATE, "optimizer.epsilon": 1e-12}
    changes |= {"schedule": "constant", "data.length": 8}
    if family == "encoder_decoder":
        changes["objective.name"] = "continuation"
    task = tiny.bound(tiny.resolve(changes)[0])
    made = program.assemble(task)
    inputs = tiny.inputs(model["family"], tiny.tokens(4, 4))

    @jax.jit
    def run(hyper, examples):
        state = unbox(made.init(hyper, {}))
        first = task.model.apply({"params": state.params}, inputs)
        for _ in range(3):
            state, _ = made.step(state, examples)
        last = task.model.apply({"params": state.params}, inputs)
        return jnp.sqrt(((last - first) ** 2).mean())

    examples = tiny.examples(length=task.window[0] - 1)
    return float(run(program.hyper_of(task.experiment), examples))


@pytest.mark.parametrize("family", FAMILIES)
def test_a(family):
    a = [moved(family, w, base_width=16) for w in (16, 64, 256)]
    b = [moved(family, w) for w in (16, 64, 256)]
    c = [moved(family, 16, depth=d, base_depth=2) for d in (2, 8, 32)]
    e = [moved(family, 16, depth=d) for d in (2, 8, 32)]
    print(family, "mup", a, "sp", b, "cp", c, "sp depth", e)
