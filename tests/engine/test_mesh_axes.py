"""Every axis of the mesh, each stage of ZeRO and their combinations train as one device does."""

import jax
import pytest

from lm_lab.engine import placement, sharding
from lm_lab.train import program
from lm_lab.train.compiled import compile_program
from lm_lab.types import UserError
from tests import tiny
from tests.tiny import ROUNDING, WIDTH, distance

pytestmark = pytest.mark.skipif(
    jax.device_count() < 8, reason="needs the 8 virtual devices of the suite"
)

STEPS = 2
VOCAB = 264  # divisible by every axis
CHANGES = {"model.vocab": VOCAB, "train.microbatches": 2, "train.batch_size": 16}


def task_of(mesh, changes=CHANGES):
    axes = {f"mesh.{axis}": size for axis, size in mesh.items()}
    return tiny.bound(tiny.resolve(changes | axes)[0])


def stepped(mesh, changes=CHANGES):
    """(the compiled program, the state and metrics after two steps on the mesh)."""
    built = compile_program([task_of(mesh, changes)])
    state = built.start()
    return built, *built.engine.step(state, built.engine.batch(0, STEPS, state))


@pytest.fixture(scope="module")
def alone():
    return jax.device_get(stepped({})[1:])


def shard_of(leaf):
    return leaf.addressable_shards[0].data.shape[-1]


# stage, and the widths of a shard of parameters and optimizer state
STAGES = [
    ({"replica": 2, "data": 4, "zero": 1}, WIDTH, WIDTH // 4),
    ({"data": 2, "fsdp": 2, "tensor": 2, "zero": 2}, WIDTH // 2, WIDTH // 4),
    ({"replica": 2, "data": 2, "fsdp": 2, "zero": 3}, WIDTH // 4, WIDTH // 4),
]


@pytest.mark.parametrize("mesh, param, stored", STAGES, ids=str)
def test_a_stage_of_zero_trains_as_one_device_and_splits_what_it_says(alone, mesh, param, stored):
    _, state, metrics = stepped(mesh)
    assert distance((state, metrics), alone) < ROUNDING
    moments = state.opt_state[1][0]
    for tree, width in ((state.params, param), (moments.mu, stored), (moments.nu, stored)):
        assert shard_of(tree["embed"]["embedding"]) == width
        assert shard_of(tree["layers"]["feed_forward"]["down"]["kernel"]) == width


REFUSED = [
    ({"zero": 2}, r"zero 2 says what config\.mesh\.data splits, which is 1; raise data, or leave"),
    ({"data": 3, "zero": 1}, r"zero 1: config\.mesh\.data 3 divides no width of what is stored"),
    ({"fsdp": 5}, rf"mesh\.fsdp 5 divides no dimension .* \(width {WIDTH}\)"),
    ({"tensor": 3}, r"mesh\.tensor 3 does not divide config\.model\.heads 2"),
]


@pytest.fixture(scope="module")
def state():
    return program.assemble(task_of({}, {"model.vocab": 257})).state


@pytest.mark.parametrize("mesh, message", REFUSED, ids=str)
def test_an_axis_that_splits_nothing_is_refused(state, mesh, message):
    with pytest.raises(UserError, match=message):
        sharding.check_split(sharding.Config(**mesh), state, 2)


def test_a_stage_of_zero_needs_something_that_is_stored():
    sgd = program.assemble(task_of({}, {"optimizer": {"name": "sgd", "peak_rate": 0.1}})).state
    with pytest.raises(UserError, match=r"zero 1: .* or nothing is stored"):
        sharding.check_split(sharding.Config(data=2, zero=1), sgd, 2)
    sharding.check_split(sharding.Config(data=2, zero=3), sgd, 2)


def test_what_an_axis_does_not_divide_is_named(state):
    mesh = sharding.Config(data=3, fsdp=2, tensor=2, zero=3)
    assert sharding.whole(sharding.Config(fsdp=8), state) == []
    assert sharding.whole(mesh, state) == [
        "config.mesh.tensor 2 does not divide vocab 257 of embed/embedding, head/kernel: whole on "
        "each of its devices",
        "config.mesh.data 3 does not divide width 8 of embed/embedding, head/kernel, "
        "layers/attention/key/kernel and 8 more: whole on each of its devices",
    ]


def test_an_axis_that_does_not_divide_is_left_out_and_the_others_stay():
    rules = placement.rules(3, "parameters")
    sizes = {"fsdp": 4, "data": 3, "tensor": 2}
    placed = placement.place((12, 7, 24), ("width", "vocab", "inner"), rules, sizes)
    assert placed.spec == jax.sharding.PartitionSpec(("fsdp", "data"), None, "tensor")
    assert placed.undivided == (placement.Undivided("tensor", 2, "vocab", 7),)
