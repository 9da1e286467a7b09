"""The counted FLOPs of a run equal the closed form, to the last FLOP."""

import dataclasses

import jax
import pytest
from ml_collections import ConfigDict

from lm_lab import config as configs
from lm_lab import registry
from lm_lab.compute.flops import count
from lm_lab.engine.sharding import unbox
from lm_lab.engine.step import gradients
from lm_lab.train.program import assemble
from lm_lab.train.shapes import abstract_examples
from lm_lab.types import UserError
from tests import tiny
from tests.tiny import DEPTH, HEADS, LENGTH, ROWS, WIDTH

BYTES = 257


def assembled(**changes):
    sections = ("model", "train", "data", "precision", "schedule")
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    assert all(name.split(".")[0] in sections for name in dotted)
    return assemble(tiny.bound(tiny.resolve(dotted)[0]))


CLOSED_FORM = (
    ROWS * LENGTH * (6 * (12 * DEPTH * WIDTH**2 + WIDTH * BYTES) + 12 * DEPTH * WIDTH * LENGTH)
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__tied": True},
        {"model__scan": False},
        {"model__scan": False, "model__remat": "full"},
        {"model__remat": "dots"},
        {"model__dropout": 0.3},
        {"model__norm": "layer", "model__positions": "learned"},
        {"train__microbatches": 4},
        {"data__isolate_documents": True},
        {"precision__compute": "bfloat16"},
        {"model__attention_kernel": "cudnn"},
    ],
    ids=str,
)
def test_a_step_costs_the_closed_form_exactly(changes):
    program = assembled(**changes)
    assert program.flops_per_step == CLOSED_FORM
    assert (
        program.flops_per_token["counted"]
        == program.flops_per_token["palm"]
        == CLOSED_FORM / (ROWS * LENGTH)
    )


def test_swiglu_costs_its_three_matrices():
    program = assembled(model__activation="swiglu", model__feed_forward_dim=40)
    weights = DEPTH * (4 * WIDTH**2 + 3 * WIDTH * 40) + WIDTH * BYTES
    assert program.flops_per_step == ROWS * LENGTH * (6 * weights + 12 * DEPTH * WIDTH * LENGTH)
    assert program.params["matmul"] == weights


LEARNS = {"encoder": "masked", "encoder_decoder": "continuation"}
"""What a family learns here, where it is not the next token."""


# word2vec is look-ups, and XLA books the additions of their gradients as FLOPs.
@pytest.mark.parametrize(
    "family", [name for name in registry.names("models") if name != "word2vec"]
)
def test_the_count_is_xlas_on_the_unrolled_model(family, monkeypatch):
    """Unrolled in depth and in time: XLA counts the body of a loop once."""
    scan = jax.lax.scan
    known = {field.name for field in dataclasses.fields(registry.load("models", family, "").Config)}
    # XLA makes a polynomial of the error function.
    sizes = {"width": 64, "scan": False, "depth": DEPTH, "heads": HEADS, "activation": "gelu"}
    unread = {"heads"} if family == "state_space" else set()  # of layers that do not attend
    model = {name: size for name, size in sizes.items() if name in known - unread}
    model |= {"family": family}
    changes = {"model": model, "objective": {"name": LEARNS.get(family, "causal")}}
    experiment = configs.resolve(ConfigDict(tiny.RUN | changes))[0]
    gradient = gradients(tiny.bound(experiment).model, tiny.bound(experiment).objective, "float32")
    state = unbox(assemble(tiny.bound(experiment)).state)
    prepare = tiny.bound(experiment).objective.prepare
    batch = jax.eval_shape(
        prepare, jax.random.key(0), abstract_examples(tiny.bound(experiment), ROWS)
    )
    arguments = (state.params, batch, jax.random.key(0))
    counted = count(gradient, *arguments)
    monkeypatch.setattr(
        jax.lax, "scan", lambda *given, **options: scan(*given, **options | {"unroll": True})
    )
    analysis = jax.jit(lambda *given: gradient(*given)).lower(*arguments).cost_analysis() or {}
    xla = analysis["flops"] + analysis["transcendentals"]
    assert counted.total + counted.elementwise == pytest.approx(xla, rel=0.01)


def test_horizons_are_whole_calls():
    target = ROWS * LENGTH
    calls = {"train__steps": None, "train__steps_per_call": 2}
    assert assembled(train__steps=7).steps == 7
    assert assembled(**calls, train__tokens=target * 7).steps in (6, 8)
    assert assembled(**calls, train__tokens=target * 6 + 1).steps == 6
    assert assembled(**calls, train__budget_flops=float(CLOSED_FORM * 10)).steps == 10


@pytest.mark.parametrize("horizon", [{"tokens": 100}, {"budget_flops": 1000.0}])
def test_a_horizon_below_one_call_is_refused(horizon):
    name = next(iter(horizon))
    with pytest.raises(
        UserError, match=rf"config\.train\.{name} .* is below .*, a call of 2 steps"
    ):
        assembled(train__steps=None, **{f"train__{name}": value for name, value in horizon.items()})


def test_a_warm_up_beyond_the_horizon_is_refused_at_once():
    with pytest.raises(UserError, match="warmup_steps 9 exceeds the run's 8 steps"):
        assembled(schedule__warmup_steps=9)


def test_counts_are_python_integers_of_any_size():
    program = assembled(model__width=65536, model__heads=512, model__depth=100, model__scan=True)
    assert program.flops_per_step * 10**9 > 2**64
    assert isinstance(program.flops_per_step, int)
