"""What every optimizer promises of a run, on one tiny decoder; `lm-lab check` tries it on a matrix.

With the quadratic, the dtype and the sharding of its state (test_optimizers.py) this is the table
of the contract.
"""

import jax
import numpy as np
import optax
import pytest

from lm_lab import registry
from lm_lab.engine import sharding
from lm_lab.nn.roles import roles
from lm_lab.runs.checkpoint import Checkpoints
from lm_lab.train import program
from lm_lab.train.compiled import compile_program
from tests import tiny
from tests.tiny import ROUNDING, distance, member, same_bits

STEPS = 16  # in a call
# Peak rates at which a tiny decoder learns; others take their default.
RATES = {"sgd": 0.3, "lion": 1e-2, "adamw": 2e-2, "muon": 3e-2, "schedule_free": 2e-2}
RATES |= {"adafactor": 0.1, "ademamix": 2e-2}


def task_of(name, changes):
    """A run of a decoder of one layer by this optimizer."""
    optimizer = {"name": name} | ({"peak_rate": RATES[name]} if name in RATES else {})
    shared = {"model.depth": 1, "optimizer": optimizer, "train.steps": 2 * STEPS}
    return tiny.resolve(shared | changes)[0]


def compiled(name, members):
    """The program of the members of a population."""
    return compile_program([tiny.bound(task_of(name, own)) for own in members], check_memory=False)


def called(built, state, first):
    """(state, metrics) after STEPS steps; the state given is spent."""
    with sharding.use(built.mesh):
        return built.engine.step(state, built.engine.batch(first, STEPS, state))


@pytest.mark.parametrize("name", registry.names("optimizers"))
def test_a_decoder_learns_and_a_run_alone_is_the_member_of_a_population_that_resumed(
    name, tmp_path
):
    two = compiled(name, [{"seed": 3}, {"seed": 0}])
    start = two.start()
    first = jax.device_get(start.params)
    middle, _ = called(two, start, 0)
    with Checkpoints(tmp_path, 1, name) as checkpoints:
        checkpoints.save(STEPS, two.held(middle)[1], {}, None)
        end, metrics = called(two, middle, STEPS)
        _, held, _ = checkpoints.latest(two.checkpoint_form()) or pytest.fail("nothing is saved")
    # Knowing nothing of the 257 ids costs ln 257 = 5.5 nats, knowing the 4 that occur ln 4 = 1.4.
    assert metrics["nll"][1, -1] / (tiny.ROWS * tiny.LENGTH) < 2.0
    alone = compiled(name, [{"seed": 0}])
    begun = alone.start()
    assert same_bits(member(begun.params, 0), member(first, 1))
    resumed, _ = called(alone, alone.load([held]), STEPS)
    assert same_bits(member(resumed, 0), member(end, 1))
    straight, _ = called(alone, begun, 0)
    assert same_bits(member(straight.params, 0), held["params"])
    assert same_bits(member(straight.opt_state, 0), held["opt_state"])


@pytest.mark.parametrize("name", registry.names("optimizers"))
def test_an_update_of_sharded_parameters_is_that_on_one_device(name):
    """Two updates with the same gradients. Gradients themselves are the engine's: summed in another
    order they differ in the last bits, and Lion would make whole rates of a gradient's sign.
    """
    task = tiny.bound(task_of(name, {"mesh.fsdp": 2}))
    state = program.assemble(task).state
    mesh = sharding.make_mesh(task.experiment.mesh)
    placed = sharding.state_shardings(mesh, state)
    random = np.random.default_rng(0)
    drawn = jax.tree.map(
        lambda leaf: random.standard_normal((3, *leaf.shape)).astype("f4") / 8,
        sharding.unbox(state.params),
    )
    about, hyper = roles(state.params), program.hyper_of(task.experiment)

    def updated(params, one, other):
        made = task.update.make(about, hyper, 0.01)
        opt_state = made.init(params)
        for gradients in (one, other):
            updates, opt_state = made.update(gradients, opt_state, params)
            params = optax.apply_updates(params, updates)
        return params, opt_state

    trees = [member(drawn, index) for index in range(3)]
    out = (placed.params, placed.opt_state)
    sharded = jax.jit(updated, in_shardings=(placed.params,) * 3, out_shardings=out)(*trees)
    kernel = sharded[0]["layers"]["attention"]["query"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (1, tiny.WIDTH // 2, tiny.WIDTH)
    # Muon multiplies fifteen times in each of two updates.
    assert distance(sharded, jax.jit(updated)(*trees)) < 10 * ROUNDING
