"""Every axis of the mesh, each stage of ZeRO and their combinations train as one device does."""

from functools import cache

import jax
import pytest

from lm_lab.compute.collectives import collectives
from lm_lab.engine import mesh_fit, placement, sharding
from lm_lab.train import program
from lm_lab.train.compiled import compile_program
from lm_lab.train.layout import lay_out
from lm_lab.types import UserError
from tests import tiny
from tests.tiny import DEPTH, ROUNDING, WIDTH, distance

pytestmark = pytest.mark.skipif(
    jax.device_count() < 8, reason="needs the 8 virtual devices of the suite"
)

STEPS = 2
VOCAB = 264  # divisible by every axis
CHANGES = {
    "model.vocab": VOCAB,
    "model.dropout": 0.1,
    "train.microbatches": 2,
    "train.batch_size": 16,
}


def task_of(mesh, changes=CHANGES):
    axes = {f"mesh.{axis}": size for axis, size in mesh.items()}
    return tiny.bound(tiny.resolve(changes | axes)[0])


def stepped(mesh, begin, changes=CHANGES):
    """(the compiled program, the state and metrics after two steps on the mesh from a state)."""
    built = compile_program([task_of(mesh, changes)])
    state = jax.device_put(begin, built.placed)
    return built, *built.engine.step(state, built.engine.batch(0, STEPS, state))


def on_one_device(changes=CHANGES):
    """(the state before the first step, the state and metrics after two)."""
    begin = jax.device_get(compile_program([task_of({}, changes)]).start())
    return begin, jax.device_get(stepped({}, begin, changes)[1:])


@pytest.fixture(scope="module")
def alone():
    return on_one_device()


def shard_of(leaf):
    return leaf.addressable_shards[0].data.shape[-1]


# stage, and the widths of a shard of parameters and optimizer state
STAGES = [
    ({"replica": 2, "data": 4, "zero": 1}, WIDTH, WIDTH // 4),
    ({"data": 2, "fsdp": 2, "tensor": 2, "zero": 2}, WIDTH // 2, WIDTH // 4),
    ({"pipeline": 2, "data": 2, "fsdp": 2, "zero": 3}, WIDTH // 4, WIDTH // 4),
]


@pytest.mark.parametrize("mesh, param, stored", STAGES, ids=str)
def test_a_stage_of_zero_trains_as_one_device_and_splits_what_it_says(alone, mesh, param, stored):
    begin, end = alone
    built, state, metrics = stepped(mesh, begin)
    assert distance((state, metrics), end) < ROUNDING
    if mesh["zero"] == 1:  # parameters are gathered once a step, not in each microbatch
        text = next(iter(built.engine.step.programs.values())).as_text()
        gathered = collectives(text)["all-gather"].sent / STEPS
        assert gathered < 1.1 * sum(leaf.nbytes for leaf in jax.tree.leaves(begin.params))
    moments = state.opt_state[1][0]
    for tree, width in ((state.params, param), (moments.mu, stored), (moments.nu, stored)):
        assert shard_of(tree["embed"]["embedding"]) == width
        kernel = tree["layers"]["feed_forward"]["down"]["kernel"]
        assert shard_of(kernel) == width
        assert kernel.addressable_shards[0].data.shape[1] == DEPTH // mesh.get("pipeline", 1)


REFUSED = [
    ({"zero": 2}, r"zero 2 says what config\.mesh\.data splits, which is 1; raise data, or leave"),
    ({"data": 3, "zero": 1}, r"zero 1: config\.mesh\.data 3 divides no width of what is stored"),
    ({"fsdp": 5}, rf"mesh\.fsdp 5 divides no dimension .* \(width {WIDTH}\)"),
    ({"tensor": 3}, r"mesh\.tensor 3 does not divide config\.model\.heads 2"),
    ({"pipeline": 3}, r"pipeline 3 does not divide the 2 layers of layers/.*; change it, or"),
]


@pytest.fixture(scope="module")
def state():
    return program.assemble(task_of({}, {"model.vocab": 257})).state


@pytest.mark.parametrize("mesh, message", REFUSED, ids=str)
def test_an_axis_that_splits_nothing_is_refused(state, mesh, message):
    with pytest.raises(UserError, match=message):
        mesh_fit.check_split(sharding.Config(**mesh), state, 2)


def test_a_stage_of_zero_needs_something_that_is_stored():
    sgd = program.assemble(task_of({}, {"optimizer": {"name": "sgd", "peak_rate": 0.1}})).state
    with pytest.raises(UserError, match=r"zero 1: .* or nothing is stored"):
        mesh_fit.check_split(sharding.Config(data=2, zero=1), sgd, 2)
    mesh_fit.check_split(sharding.Config(data=2, zero=3), sgd, 2)


def test_what_an_axis_does_not_divide_is_named(state):
    mesh = sharding.Config(data=3, fsdp=2, tensor=2, zero=3)
    assert mesh_fit.whole(sharding.Config(fsdp=8), state) == []
    assert mesh_fit.whole(mesh, state) == [
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


EXPERTS = {"model.feed_forward": {"name": "experts", "count": 4, "capacity_factor": 1.25}}
MAMBA = {"model": {"family": "state_space", "width": WIDTH, "depth": 2, "scan": True}}
HYBRID = {
    "model": {
        "family": "state_space",
        "block": "rg_lru",
        "attention_every": 2,
        "width": WIDTH,
        "depth": 2,
        "heads": 2,
    },
    "train.microbatches": 2,  # rows in groups of devices beside parts of the length
}
MODELS = {"decoder": {"model.depth": 1}, "mamba": MAMBA, "hybrid": HYBRID, "experts": EXPERTS}
SPLIT = [  # mamba: beside a population, in test_mesh_pairs.py
    ("decoder", {"sequence": 2, "fsdp": 2, "tensor": 2}),
    ("hybrid", {"sequence": 2, "tensor": 2, "data": 2, "zero": 1}),
    ("experts", {"expert": 4, "data": 2}),
    ("experts", {"pipeline": 2, "expert": 2, "sequence": 2}),
]


@cache
def unsplit(name):
    return on_one_device(documents(name))


def documents(name):
    """The changes for a model, and rows of several documents."""
    return {"data.isolate_documents": True} | MODELS[name]


@pytest.mark.parametrize("name, mesh", SPLIT, ids=str)
def test_rows_and_experts_that_are_split_train_as_on_one_device(name, mesh):
    begin, end = unsplit(name)
    _, *split = stepped(mesh, begin, documents(name))
    assert distance(split, end) < ROUNDING


RNN = {"model": {"family": "rnn", "width": WIDTH, "depth": 1}}
DROPLESS = {"model.feed_forward": {"name": "experts", "count": 4}}
UNSPLIT = [  # mamba: beside a population, in test_mesh_pairs.py
    ({}, {"sequence": 3}, r"sequence 3 does not divide the 16 positions of a row"),
    (RNN, {"sequence": 2}, r"mesh\.sequence: a step of lstm needs the state before it"),
    (RNN | {"train.carry_state": True}, {"sequence": 2}, "leave one of them out"),
    (
        RNN | {"train.carry_state": True},
        {"pipeline": 2},
        r"mesh\.pipeline .* leave one of them out",
    ),
    (DROPLESS, {"expert": 2}, r"capacity_factor is None; set it, as to 1\.25"),
    ({}, {"expert": 2}, r"mesh\.expert 2 divides no dimension"),
]


@pytest.mark.parametrize("changes, mesh, message", UNSPLIT, ids=str)
def test_rows_and_experts_that_cannot_be_split_are_refused(changes, mesh, message):
    with pytest.raises(UserError, match=message):
        traced(task_of(mesh, changes))


def traced(task):
    laid = lay_out([task])
    with sharding.use(laid.mesh):
        return jax.eval_shape(laid.engine.init.jitted, laid.hyper, {})
