"""A run sharded over devices equals the run on one; each axis of the mesh splits what it is for."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from lm_lab.engine import mesh_fit, sharding
from lm_lab.engine.state import FROZEN, TrainState
from lm_lab.train.compiled import compile_program
from lm_lab.types import UserError
from tests import tiny
from tests.tiny import HEADS, ROUNDING, WIDTH, distance

pytestmark = pytest.mark.skipif(
    jax.device_count() < 8, reason="needs the 8 virtual devices of the suite"
)

STEPS = 3
VOCAB = 264  # divisible by every axis
MEMBERS = [
    {"seed": seed, "optimizer.peak_rate": rate}
    for seed, rate in enumerate((1e-2, 3e-3, 1e-3, 2e-2))
]


def compiled(mesh, members=MEMBERS[:1]):
    """The compiled program, with a moving average, which is in the state beside the parameters."""
    changes = {f"mesh.{axis}": size for axis, size in mesh.items()}
    changes |= {"model.vocab": VOCAB, "train.average_decay": 0.5}
    return compile_program([tiny.bound(tiny.resolve(changes | own)[0]) for own in members])


def trained(mesh, members=MEMBERS[:1]):
    """(state, metrics, held-out sums) after three steps, on the devices."""
    return steps_of(compiled(mesh, members))


def steps_of(built):
    """`trained`, for a compiled program."""
    state = built.start()
    state, metrics = built.engine.step(state, built.engine.batch(0, STEPS, state))
    return state, metrics, built.engine.evaluate(state, built.feed.eval_sets[0].examples)


@pytest.fixture(scope="module")
def alone():
    return jax.device_get(trained({}))


def test_sharded_is_single_and_the_parameters_are_where_the_mesh_says(alone):
    fsdp = tensor = 2
    built = compiled({"data": 2, "fsdp": fsdp, "tensor": tensor})
    state, metrics, sums = steps_of(built)
    assert distance((state, metrics, sums), alone) < ROUNDING
    wanted = {
        "embed": (1, VOCAB // tensor, WIDTH // fsdp),
        "head": (1, WIDTH // fsdp, VOCAB // tensor),
        "up": (1, 2, WIDTH // fsdp, 4 * WIDTH // tensor),
        "down": (1, 2, 4 * WIDTH // tensor, WIDTH // fsdp),
        "attention_norm": (1, 2, WIDTH // fsdp),
    }
    mu = state.opt_state[1][0].mu
    for params in (state.params, mu, state.slots["average"]):
        layers = params["layers"]
        held = {
            "embed": params["embed"]["embedding"],
            "head": params["head"]["kernel"],
            "up": layers["feed_forward"]["up"]["kernel"],
            "down": layers["feed_forward"]["down"]["kernel"],
            "attention_norm": layers["attention_norm"]["scale"],
        }
        assert {
            name: leaf.addressable_shards[0].data.shape for name, leaf in held.items()
        } == wanted
    built.engine.step(state, built.engine.batch(STEPS, STEPS, state))
    (step,) = built.engine.step.programs.values()  # a state of other shardings would be refused
    # by these XLA copies an array to every device ("involuntary full rematerialization")
    assert (text := step.as_text())
    assert "collective-permute" not in text


def test_a_population_over_devices_is_its_solo_runs(alone):
    state, metrics, sums = trained({"population": 4, "data": 2}, MEMBERS)
    assert distance(tiny.member((state, metrics, sums), 0), tiny.member(alone, 0)) < ROUNDING
    last = tiny.member((state, metrics, sums), 3)
    assert distance(last, tiny.member(trained({}, MEMBERS[3:]), 0)) < ROUNDING
    kernel = state.params["head"]["kernel"]
    assert kernel.shape == (4, WIDTH, VOCAB)
    assert kernel.addressable_shards[0].data.shape == (1, WIDTH, VOCAB)


@pytest.mark.parametrize("mesh, constraints", [({}, False), ({"data": 2}, True)])
def test_activations_are_constrained_where_there_are_devices_to_choose_from(mesh, constraints):
    built = compiled(mesh)
    state = built.abstract_state()
    examples = built.engine.batch(0, 1, state)
    with sharding.use(built.mesh):
        jaxpr = str(jax.make_jaxpr(built.engine.step.jitted)(state, examples))
    assert ("sharding_constraint" in jaxpr) == constraints


def test_a_program_is_the_same_inside_and_outside_of_a_mesh():
    built = compiled({})
    arguments = (built.hyper, built.feed.given)
    outside = built.engine.init.compile(*arguments).as_text()
    with sharding.use(built.mesh):
        assert built.engine.init.compile(*arguments).as_text() == outside


def test_a_dimension_that_the_mesh_does_not_divide_stays_whole():
    built = compiled({"fsdp": 1, "tensor": 2}, [{"model.vocab": 257}])
    state = built.start()
    assert state.params["head"]["kernel"].addressable_shards[0].data.shape == (1, WIDTH, 257)
    assert (
        state.params["layers"]["attention"]["query"]["kernel"].addressable_shards[0].data.shape[-1]
        == WIDTH // 2
    )
    assert HEADS == 2


@pytest.mark.parametrize(
    "mesh, rows, members, message",
    [
        (
            {"data": 3},
            8,
            1,
            "config.mesh: data 3 x fsdp 1 do not divide the 8 rows of a microbatch",
        ),
        ({"data": 2, "fsdp": 2}, 6, 1, "data 2 x fsdp 2 do not divide the 6 rows"),
        (
            {"population": 2},
            8,
            3,
            "config.mesh.population 2 does not divide the 3 runs; set it to 1",
        ),
        ({"pipeline": 2}, 9, 1, "pipeline 2 do not divide the 9 rows of a microbatch"),
        (
            {"data": 2, "pipeline": 2, "pipeline_microbatches": 3},
            24,
            1,
            "pipeline_microbatches 3 is no multiple of config.mesh.pipeline 2 that divides the 12",
        ),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(mesh, rows, members, message):
    with pytest.raises(UserError, match=message):
        mesh_fit.check_fit(sharding.Config(**mesh), rows, members)


def test_an_axis_that_divides_nothing_names_the_dimensions():
    kernel = jax.ShapeDtypeStruct((WIDTH, VOCAB), np.float32)
    params = {"head": nn.LogicallyPartitioned(kernel, ("width", "vocab"))}  # type: ignore[arg-type]
    state = TrainState(None, params, (), {}, {FROZEN: {}})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"mesh\.fsdp 5 divides no .* \(width {WIDTH}\)"):
        mesh_fit.check_split(sharding.Config(fsdp=5), state, None)
    mesh_fit.check_split(sharding.Config(fsdp=2, tensor=8), state, None)


def test_too_few_devices_are_refused():
    with pytest.raises(
        UserError, match=r"config\.mesh asks for 100000 devices .*data 100000.*; there are 8"
    ):
        sharding.make_mesh(sharding.Config(data=100_000))


def test_examples_are_put_where_the_devices_read_them():
    mesh = sharding.make_mesh(sharding.Config(population=2, data=2, fsdp=2))
    place = sharding.examples_sharding(mesh)
    leaf = np.arange(4 * 3 * 8 * 5).reshape(4, 3, 8, 5)
    members, steps, rows = sharding.own_indices(place, leaf.shape[:3])
    assert (len(members), len(steps), len(rows)) == (4, 3, 8)  # one process has all devices
    made = sharding.from_own({"tokens": leaf}, place, leaf.shape[:3])["tokens"]
    assert (np.asarray(made) == leaf).all()
    assert made.sharding == place
    assert made.addressable_shards[3].data.shape == (2, 3, 2, 5)
