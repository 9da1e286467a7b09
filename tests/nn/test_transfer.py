"""Rates that carry over: the width and the depth of a model leave what its features do in a step.

The figures of a whole transfer are in experiments/mup_transfer.md.
"""

import jax
import jax.numpy as jnp
import pytest

from lm_lab.engine.sharding import unbox
from lm_lab.nn.roles import Role
from lm_lab.nn.transfer import with_shares
from lm_lab.optimizer_contract import ParameterGroup
from lm_lab.optimizers import composed, lion
from lm_lab.train import program
from lm_lab.types import Inputs, UserError
from tests import tiny
from tests.tiny import ROUNDING, ROWS, distance, same_bits

FAMILIES = {
    "decoder": {"family": "decoder", "heads": 2},
    "encoder_decoder": {"family": "encoder_decoder", "heads": 2},
    "lstm": {"family": "rnn"},
    "mamba": {"family": "state_space"},
}
WIDTH, DEPTH, RATE = 16, 1, 0.02


def task_of(family, changes):
    """A run of a small model, 16 wide and 1 deep, at a rate that does not change."""
    model = {"width": WIDTH, "depth": DEPTH, "scan": True, **FAMILIES[family], **changes}
    run = {"model": model, "optimizer.peak_rate": RATE, "optimizer.epsilon": 1e-12}
    run |= {"schedule": "constant", "data.length": 8}
    if family == "encoder_decoder":
        run["objective.name"] = "continuation"
    return tiny.bound(tiny.resolve(run)[0])


def moved(family, **changes):
    """How far three steps move the logits of random tokens, root mean square."""
    task = task_of(family, changes)
    made = program.assemble(task)
    inputs = tiny.inputs(FAMILIES[family]["family"], tiny.tokens(4, 4))

    @jax.jit
    def run(hyper, examples):
        state = unbox(made.init(hyper, {}))
        after, _ = jax.lax.scan(lambda s, _: (made.step(s, examples)[0], None), state, length=3)
        both = jax.tree.map(lambda *leaves: jnp.stack(leaves), state.params, after.params)
        first, last = jax.lax.map(lambda params: task.model.apply({"params": params}, inputs), both)
        return jnp.sqrt(((last - first) ** 2).mean())

    return float(run(program.hyper_of(task.experiment), tiny.examples(length=task.window[0] - 1)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_larger_model_moves_as_far_in_a_step(family):
    """In the standard parametrisation a model 8 times as wide moves 2 to 4 times as far. By muP,
    whose head is small at first, it moves less, towards a limit.
    """
    heads = {"heads": 16} if "heads" in FAMILIES[family] else {}
    wide = {"width": 8 * WIDTH, "depth": 4 * DEPTH, **heads}
    large = moved(family, **wide, base_width=WIDTH, base_depth=DEPTH)
    assert 0.3 < large / moved(family) < 1.2


@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_base_size_it_is_the_standard_parametrisation(family):
    steps = []
    for base in ({}, {"base_width": WIDTH, "base_depth": DEPTH}):
        task = task_of(family, base)
        made = program.assemble(task)
        examples = tiny.examples(ROWS, task.window[0] - 1)
        steps.append(str(jax.make_jaxpr(made.step)(unbox(made.state), examples)))
    assert steps[0] == steps[1]


@pytest.mark.parametrize("grouped", [False, True])
def test_rates_and_decays_are_those_of_the_table(grouped):
    """Lion moves every entry by its rate, and by rate * decay * parameter."""
    kinds = {"embed": "embedding", "kernel": "kernel", "expert": "expert_kernels", "norm": "vector"}
    roles = with_shares({name: Role(kind) for name, kind in kinds.items()}, 4.0)
    params = {name: jnp.full((2, 2), 3.0) for name in kinds}
    share, decay = (0.5, 2.0) if grouped else (1.0, 1.0)
    group = ParameterGroup(paths=("kernel",), rate=share, decay=decay)
    config = lion.Config(clip_norm=None, groups=(("one", group),) if grouped else ())
    hyper = {"weight_decay": 0.5, "beta1": 0.9, "beta2": 0.99}
    hyper |= {"groups.one.rate": share, "groups.one.decay": decay}
    made = composed(lion.OPTIMIZER, config, hyper, 0.1, roles)
    updates, _ = made.update(params, made.init(params), params)
    by_decay = 0.1 * 0.5 * 3.0  # at any width
    wanted = {"embed": 0.1 + by_decay, "norm": 0.1, "expert": 0.1 / 4 + by_decay}
    wanted["kernel"] = share * (0.1 / 4 + decay * by_decay)
    assert {name: -float(leaf[0, 0]) for name, leaf in updates.items()} == pytest.approx(wanted)


@pytest.mark.parametrize("family", ["decoder", "rnn", "state_space"])
def test_tables_and_heads_begin_as_large_as_the_base_width_asks(family):
    size = {"width": 4 * WIDTH, "depth": 1}
    made = [tiny.model(family, **size, **base) for base in ({}, {"base_width": WIDTH})]
    plain, wide = (tiny.params_of(each, Inputs(tiny.tokens(1, 2))) for each in made)
    assert distance(wide["embed"]["embedding"], 2 * plain["embed"]["embedding"]) < ROUNDING
    assert distance(wide["head"]["kernel"], plain["head"]["kernel"] / 2) < ROUNDING
    assert same_bits(wide["layers"], plain["layers"])


@pytest.mark.parametrize(
    "changes, fault",
    [
        ({"model.tied": True}, r"config\.model: base_width does not work with tied; leave one out"),
        ({"model.embedding_scaling": True}, "base_width does not work with embedding scaling"),
        ({"model.positions": "learned"}, "base_width does not work with learned positions"),
        ({"model.positions": "sinusoidal"}, "base_width does not work with sinusoidal positions"),
        (
            {"optimizer": "sgd"},
            r"base_width is for optimizers that .*: adamw, ademamix, lion, schedule_free",
        ),
        ({"model": {"family": "state_space", "block": "rg_lru", "base_width": 8}}, "with rg lru"),
        ({"model": {"family": "rnn", "residual": False, "base_depth": 1}}, "is for residual lay"),
        (
            {"model": {"family": "encoder", "base_width": 8}},
            "is read with decoder or enc.* or state_space",
        ),
    ],
)
def test_what_does_not_work_with_a_base_is_refused_in_a_line(changes, fault):
    base = {} if isinstance(changes.get("model"), dict) else {"model.base_width": 8}
    with pytest.raises(UserError, match=fault):
        program.assemble(tiny.bound(tiny.resolve(base | changes)[0]))
