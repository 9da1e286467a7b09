"""Windows one after another, their state carried, are the whole text; gradients end with them."""

import importlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab import registry
from lm_lab.engine.carry import begun, carry_of
from lm_lab.engine.step import accumulate, gradients
from lm_lab.interop import torch_rnn
from lm_lab.nn.positions import Sinusoidal
from lm_lab.objectives import causal
from lm_lab.types import Examples, Inputs, Vocabulary
from tests import tiny
from tests.tiny import DEPTH, LENGTH, ROUNDING, VOCAB, WIDTH, distance

ROWS, WINDOWS = 4, 4
OBJECTIVE = causal.make(causal.Config(), LENGTH, Vocabulary(VOCAB, 0, None, None))
KEY = jax.random.key(0)
TEXT = tiny.tokens(ROWS, WINDOWS * LENGTH // 2 + 1)  # two windows of the suite's, cut into four
SIZE = LENGTH // 2


def window(index, segments=None):
    place = slice(index * SIZE, (index + 1) * SIZE + 1)
    return Examples(
        TEXT[:, place],
        jnp.ones((ROWS, SIZE + 1)),
        None if segments is None else segments[:, place],
        begins=jnp.full(ROWS, index == 0),
    )


FAMILIES = {
    "lstm": {"family": "rnn"},
    "gru unrolled": {"family": "rnn", "cell": "gru", "scan": False},
    "mamba": {"family": "state_space"},
    "hawk unrolled": {"family": "state_space", "block": "rg_lru", "scan": False},
    "decoder": {"family": "decoder", "window": SIZE // 2 + 1},
    "decoder unrolled": {
        "family": "decoder",
        "window": 2 * SIZE - 3,
        "positions": "alibi",
        "scan": False,
    },
}


def made(name):
    """(model, the form of its state, parameters)"""
    settings = dict(FAMILIES[name])
    family = settings.pop("family")
    known = registry.load("models", family, "")
    model = tiny.model(family, **settings)
    assert known.is_recurrent(model.cfg)
    bounded = partial(known.bounded, model.cfg)
    form = carry_of(model, "float32", known.memory(model.cfg), bounded)
    return model, form, tiny.params_of(model, Inputs(TEXT[:, :1]))


@pytest.mark.parametrize("name", FAMILIES)
def test_windows_one_after_another_are_the_whole_text(name):
    model, form, params = made(name)
    whole = jax.jit(lambda inputs: model.apply({"params": params}, inputs))
    documents = jnp.asarray([[1] * 11 + [2] * 3 + [3] * (TEXT.shape[1] - 14)] * ROWS, jnp.int32)

    @jax.jit
    def one(carry, examples):
        batch = OBJECTIVE.prepare(KEY, examples)
        carry = begun(carry, examples.begins)
        return form.apply(model, {"params": params}, batch.inputs, carry)[:2]

    for segments in (None, documents):
        # what is carried before a text begins is of another, and forgotten
        carry = jax.tree.map(lambda leaf: leaf + 3, form.start(ROWS))
        found = []
        for index in range(WINDOWS):
            logits, carry = one(carry, window(index, segments))
            found.append(logits)
        assert all(len(leaf) == ROWS for leaf in jax.tree.leaves(carry))
        own = None if segments is None else segments[:, :-1]
        wanted = whole(Inputs(TEXT[:, :-1], own))
        assert distance(jnp.concatenate(found, axis=1), wanted) < ROUNDING
        assert distance(one(form.start(ROWS), window(WINDOWS - 1))[0], found[-1]) > 1e-2
    # a text that begins after 4 million tokens, where two float32 are 1/4 apart: positions are
    # counted anew before what the last window sees
    carry = jax.tree.map(
        lambda leaf: leaf + 4_000_000 * (leaf.dtype == jnp.int32), form.start(ROWS)
    )
    for index in range(WINDOWS):
        following = window(index, documents)._replace(begins=jnp.zeros(ROWS, bool))
        logits, carry = one(carry, following)
    assert distance(logits, found[-1]) < ROUNDING


def test_a_family_that_attends_to_all_has_no_state_alone():
    decoder, mixed = (registry.load("models", name, "") for name in ("decoder", "state_space"))
    windowed = {"window": 8, "depth": 4}
    assert decoder.is_recurrent(decoder.Config(**windowed))
    for more in ({"window": None}, {"global_every": 2}, {"positions": Sinusoidal()}):
        assert not decoder.is_recurrent(decoder.Config(**{**windowed, **more}))
    assert not mixed.is_recurrent(mixed.Config(attention_every=2))
    assert mixed.is_recurrent(mixed.Config(attention_every=5, depth=4))


def test_microbatches_carry_the_state_of_their_own_rows():
    model, form, params = made("lstm")
    whole = gradients(model, OBJECTIVE, "float32", form=form)
    carry = jax.tree.map(lambda leaf: tiny.normal(*leaf.shape), form.start(ROWS))
    carry["segments"] = form.start(ROWS)["segments"]
    batch = OBJECTIVE.prepare(KEY, window(1))
    one, two = (
        jax.jit(accumulate(whole, parts))(params, batch, KEY, (), carry) for parts in (1, 2)
    )
    assert distance(two, one) < ROUNDING


@pytest.mark.torch
@pytest.mark.parametrize("kind", [("LSTM", None), ("GRU", None)])
def test_nll_and_truncated_gradients_are_those_of_torch(kind):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind[0])(WIDTH, WIDTH, DEPTH, batch_first=True)
    tensors = {name: tensor.detach().numpy() for name, tensor in theirs.state_dict().items()}
    cell = torch_rnn.MODULES[kind]
    model = tiny.model("rnn", cell=cell, residual=False, norm=None)
    drawn = tiny.params_of(model, Inputs(TEXT[:, :1]))
    params = {**drawn, **torch_rnn.read(tensors, cell)}
    form = carry_of(model, "float32")
    gradient = jax.jit(gradients(model, OBJECTIVE, "float32", form=form))
    table, head = (
        torch.tensor(np.asarray(leaf))
        for leaf in (params["embed"]["embedding"], params["head"]["kernel"])
    )
    carry, state = form.start(ROWS), None
    for index in range(WINDOWS):
        examples = window(index)
        batch = OBJECTIVE.prepare(KEY, examples)
        found, (sums, carry) = gradient(params, batch, KEY, (), carry)
        tokens = torch.tensor(np.asarray(examples.tokens)).long()
        out, state = theirs(table[tokens[:, :-1]], state)
        state = tuple(part.detach() for part in state) if kind[0] == "LSTM" else state.detach()
        nll = importlib.import_module("torch.nn.functional").cross_entropy(
            (out @ head).reshape(-1, VOCAB), tokens[:, 1:].reshape(-1), reduction="sum"
        )
        theirs.zero_grad()
        nll.backward()
        assert float(sums["nll"]) == pytest.approx(nll.item(), rel=ROUNDING)
        ours = torch_rnn.write(jax.device_get(found), cell)
        for name, parameter in theirs.named_parameters():
            if not name.startswith("bias_hh"):  # ours has one bias where theirs are two
                assert distance(ours[name], parameter.grad.numpy()) < 10 * ROUNDING, name
