"""Runs that carry their state from window to window, end to end."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab import config as configs
from lm_lab.engine import sharding
from lm_lab.evaluation.tasks.perplexity import words
from lm_lab.evaluation.text_model import token_scores, whole_program
from lm_lab.runs import records
from lm_lab.train import loop, restore
from lm_lab.train.compiled import compile_program
from lm_lab.train.evaluation_tasks import text_run
from lm_lab.train.run import bind_runs
from lm_lab.train.task import bind
from lm_lab.types import Inputs, UserError
from tests import tiny
from tests.tiny import ROUNDING, distance, same_bits
from tests.train.launched import Killed, assert_same, compile_once, kept, kill_at, runs_in

pytestmark = pytest.mark.usefixtures("shared_programs")

CARRIED = {
    "model": {"family": "rnn", "width": 16, "depth": 2, "scan": True},
    "data.source.documents": 4,  # three to train on, of 257 tokens: an epoch is six steps of eight
    "train.carry_state": True,
    "evaluation.whole": True,
}
TWO = ({"seed": 0}, {"seed": 1, "optimizer.peak_rate": 3e-3})


@pytest.fixture(scope="module")
def carried(tmp_path_factory):
    """Two members, trained together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LM_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "token_stores"))
        patch.setattr(loop, "compile_program", compile_once)
        runs = runs_in(tmp_path_factory.mktemp("carried"), TWO, **CARRIED)
        loop.train(runs)
    return runs


def test_a_killed_run_and_a_member_of_a_population_are_the_solo_run(tmp_path, monkeypatch, carried):
    runs = runs_in(tmp_path, TWO[:1], **CARRIED)
    with monkeypatch.context() as patch:
        kill_at(patch, 2, after=True)
        with pytest.raises(Killed):
            loop.train(runs)
    (step, state), _, _ = kept(runs[0])
    leaves = jax.tree.leaves(state["slots"]["carry"])
    assert step == 4
    assert all(np.abs(leaf).min() > 0 for leaf in leaves)
    loop.train(runs)  # over the end of an epoch
    assert_same(runs, carried[:1])


def test_held_out_text_is_scored_in_one_pass(carried):
    (run,) = bind_runs(carried[:1])
    task, params = run.task, restore.load_params(carried[0].directory)[2]
    split = task.dataset.heldout
    tokens = np.asarray(split.tokens, np.int32)

    def nll(inputs, targets):
        logits = task.model.apply({"params": params}, Inputs(jnp.asarray(inputs)))
        found = jax.nn.log_softmax(logits)
        return -np.take_along_axis(np.asarray(found), targets[..., None], -1)[..., 0]

    final = (records.read_result(carried[0].directory) or {})["final"]
    before = np.append(split.end_of_document, tokens[:-1])
    whole = nll(before[None], tokens[None]).mean()
    assert final["eval/heldout_whole/nll"] == pytest.approx(whole, rel=ROUNDING)
    # two windows of each of eight rows, which read on
    part = 2 * tiny.LENGTH
    rows = np.stack([tokens[row * part : (row + 1) * part + 1] for row in range(tiny.ROWS)])
    evaluated = nll(rows[:, :-1], rows[:, 1:]).mean()
    assert final["eval/heldout/nll"] == pytest.approx(evaluated, rel=ROUNDING)
    params = jax.device_put(params)
    assert task.evaluate(params)["nll"] == pytest.approx(evaluated, rel=ROUNDING)


def test_texts_of_any_length_are_read_beside_each_other(carried):
    (run,) = bind_runs(carried[:1])
    task, params = run.task, restore.load_params(carried[0].directory)[2]
    asked, codec = text_run(task), task.tokenizer
    texts = [codec.encode("ab" * size) for size in (30, 0, 1, 70)]
    size = sum(map(len, texts))
    found = list(token_scores(asked, whole_program(asked), params, texts, size))
    for text, score in zip(texts, found, strict=True):
        before = jnp.asarray([codec.end_of_document, *text[:-1].tolist()])[None, : len(text)]
        logits = task.model.apply({"params": params}, Inputs(before))
        nats = np.asarray(jax.nn.log_softmax(logits))[0, np.arange(len(text)), text]
        np.testing.assert_allclose(score.nats, nats, rtol=10 * ROUNDING)


def test_the_penn_treebank_is_one_token_a_word(tmp_path, monkeypatch):
    monkeypatch.setenv("LM_LAB_DATA", str(tmp_path))
    (tmp_path / "penn_treebank").mkdir()
    line = " no it was n't <unk> \n black monday \n"
    for side, times in (("train", 400), ("valid", 80), ("test", 80)):
        (tmp_path / "penn_treebank" / f"ptb.{side}.txt").write_text(line * times)
    path = Path(__file__).parents[2] / "configs" / "penn_treebank.py"
    task = bind(*configs.resolve(configs.load(str(path))))
    tokens, codec = task.dataset.heldout.tokens, task.tokenizer
    # a word for the space that begins the file, and the end of the document
    assert len(tokens) == 80 * words(line, "penn_treebank") + 2
    assert codec.decode(tokens) == line * 80
    assert task.vocabulary.size == 256 + len({*line.split(" ")}) + 1
    # an epoch of the published file: 929,589 words, and these two
    windows = (929_591 - 21) // 20 + 1
    assert task.experiment.train.steps == 13 * (windows // 20)


def test_sharded_is_single_and_the_state_is_where_the_rows_are():
    def stepped(mesh):
        changes = {f"mesh.{axis}": size for axis, size in mesh.items()}
        built = compile_program([tiny.bound(tiny.resolve(CARRIED | changes)[0])])
        with sharding.use(built.mesh):
            state = built.start()
            for first in (0, 4):  # over the end of an epoch
                state, metrics = built.engine.step(state, built.engine.batch(first, 4, state))
            sums = built.engine.evaluate(state, built.feed.eval_sets[0].examples)
        return state, (jax.device_get((state.params, state.slots, metrics)), jax.device_get(sums))

    (state, sharded), (_, alone) = stepped({"data": 2, "fsdp": 2}), stepped({})
    assert distance(sharded, alone) < ROUNDING
    h, _ = state.slots["carry"]["layers"]["recurrent"]["carry"]
    assert h.shape == (1, 8, 2, 16)
    assert h.addressable_shards[0].data.shape == (1, 2, 2, 16)


def test_runs_that_carry_nothing_keep_and_name_nothing_of_it():
    experiment, values = tiny.resolve({"model": CARRIED["model"]})
    built = tiny.bound(experiment)
    assert built.carry.one == {}
    assert built.examples(0).begins is None
    assert values["train"]["carry_state"] is False


GRIFFIN = {"family": "state_space", "block": "rg_lru", "attention_every": 2, "width": 16}
MIXTURE = {"one": {"name": "synthetic"}, "two": {"name": "synthetic", "symbols": 3}}


@pytest.mark.parametrize(
    "changes, fault",
    [
        (
            {"model": {"family": "decoder"}},
            r"model\.family 'decoder'.* keeps no state with these settings",
        ),
        ({"model": GRIFFIN}, r"model\.family 'state_space' keeps no state with"),
        ({"objective.name": "continuation"}, r"objective\.name 'continuation' reads no text on"),
        ({"data": {"sources": MIXTURE, "length": 16}}, r"data\.sources is a mixture"),
        ({"data.packing": "fit"}, r"data\.packing 'fit' puts documents"),
        ({"evaluation.stride": 4}, r"evaluation\.stride is for windows"),
        ({"train.also_evaluate": ("continuation",)}, r"also_evaluate: 'continuation' reads other"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_nothing_to_carry_is_refused_in_one_line(changes, fault):
    with pytest.raises(UserError, match=fault):
        tiny.resolve(CARRIED | changes)


def test_batches_are_those_of_the_text_row_by_row():
    task = tiny.bound(tiny.resolve(CARRIED)[0])
    tokens = np.asarray(task.dataset.train.tokens)
    rows = task.training(0).chunk(0, 6).tokens[..., :-1].swapaxes(0, 1).reshape(tiny.ROWS, -1)
    np.testing.assert_array_equal(rows.ravel(), tokens[: rows.size])
    assert math.isclose(task.training(0).epochs(6)[0], 1)
    assert same_bits(task.training(0).chunk(7, 2), task.training(1).chunk(1, 2))
