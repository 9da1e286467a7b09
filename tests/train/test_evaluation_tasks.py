"""Tasks while training: each member is evaluated by itself, training does not change, and a resumed
run records what an undisturbed one does.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from lm_lab.contracts import Scores
from lm_lab.evaluation import bootstrap
from lm_lab.runs import records
from lm_lab.runs.sweep import Planned
from lm_lab.sweeps.results import rows_of
from lm_lab.train import evaluation_tasks, heldout, loop
from lm_lab.train.evaluate import evaluate
from lm_lab.train.feed import task_scores
from lm_lab.types import UserError
from tests import tiny
from tests.evaluation.asked import END, LENGTH, by_one_pass, params_of, task_of
from tests.tiny import same_bits
from tests.train.launched import (
    THREE,
    Killed,
    assert_same,
    compile_once,
    kept,
    kill_at,
    runs_in,
)

pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture(scope="module")
def changes(tmp_path_factory):
    """Changes of a config: a task at every second step, and the whole held-out text at the end."""
    path = tmp_path_factory.mktemp("tasks") / "pairs.jsonl"
    pairs = [("abab", "abba"), ("ba", "bb"), ("a", "b")]
    records = [{"sentence_good": good, "sentence_bad": bad} for good, bad in pairs]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    tasks = {"pairs": {"name": "minimal_pairs", "path": str(path)}}
    return {"evaluation": {"tasks": tasks, "every_steps": 2, "whole": True}}


@pytest.fixture(scope="module")
def asked(changes, tmp_path_factory):
    """Two runs that were trained together and asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LM_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "token_stores"))
        patch.setattr(loop, "compile_program", compile_once)
        runs = runs_in(tmp_path_factory.mktemp("asked") / "runs", THREE[:2], **changes)
        loop.train(runs)
    return runs


def test_tasks_change_nothing_that_is_trained(asked, undisturbed):
    for one, other in zip(asked, undisturbed):
        (step, state), lines, result = kept(one)
        (wanted_step, wanted_state), wanted_lines, wanted_result = kept(other)
        assert step == wanted_step
        assert same_bits(state, wanted_state)
        ours = {name for line in lines for name in line if "/pairs/" in name or "_whole/" in name}
        stripped = [{key: line[key] for key in line if key not in ours} for line in lines]
        for line in wanted_lines:
            assert line in stripped
        assert wanted_result["final"].items() <= result["final"].items()


def test_each_member_is_asked_by_itself(asked):
    found = [kept(run) for run in asked]
    for _, lines, result in found:
        asked_at = [line["step"] for line in lines if "eval/pairs/margin" in line]
        assert asked_at == [2, 4, 6, 8]
        assert [line["step"] for line in lines if "eval/heldout_whole/nll" in line] == [8]
        assert lines[-1]["eval/pairs/margin"] == result["final"]["eval/pairs/margin"]
    margins = [result["final"]["eval/pairs/margin"] for _, _, result in found]
    assert margins[0] != margins[1]
    for run, margin in zip(asked, margins):
        step, final = evaluate(run)
        assert step == 8
        assert final["eval/pairs/margin"] == pytest.approx(margin, rel=1e-6)


def test_results_of_a_sweep_have_a_column_for_every_metric(asked):
    runs = [Planned(run.directory.name, {}, dict(run.resolved)) for run in asked]
    table = rows_of(runs, asked[0].directory.parent.parent)
    for row, run in zip(table, asked):
        final = records.read_result(run.directory)["final"]
        assert row["eval/pairs/margin"] == final["eval/pairs/margin"]
        assert row["eval/heldout_whole/bits_per_byte"] == final["eval/heldout_whole/bits_per_byte"]


def test_a_killed_run_records_what_an_undisturbed_one_does(asked, changes, tmp_path, monkeypatch):
    runs = runs_in(tmp_path, THREE[:2], **changes)
    with monkeypatch.context() as patch:
        kill_at(patch, 3, after=True)
        with pytest.raises(Killed):
            loop.train(runs)
    loop.train(runs)
    assert_same(runs, asked)


def test_tasks_are_scored_with_the_moving_average_too(tmp_path):
    def scores(params):
        return Scores({"n": np.ones(1)}, lambda statistics: {"x": params})

    one = SimpleNamespace(scores=lambda params: {"pairs": scores(params)})
    feed = SimpleNamespace(tasks=one, whole_heldout={"heldout_whole/ko": scores})
    values = task_scores(feed, {"": 1.0, "_average": 2.0}, at_end=True)
    assert values == {
        "pairs": {"x": 1.0},
        "heldout_whole/ko": {"x": 1.0},
        "pairs_average": {"x": 2.0},
        "heldout_whole_average/ko": {"x": 2.0},
    }
    tasks = {name: {"name": "perplexity", "path": "x"} for name in ("a", "a_average")}
    runs = runs_in(tmp_path, **{"evaluation": {"tasks": tasks}, "train.average_decay": 0.5})
    with pytest.raises(UserError, match="eval/a_average is task a with the moving average"):
        loop.train(runs)


def test_a_run_that_has_ended_may_be_asked_otherwise(asked):
    """Tasks do not belong to the identity of a run: without them it may still claim its
    directory.
    """
    run = asked[0]
    (result,) = loop.train([run._replace(resolved=tiny.resolve()[1])])
    assert result["status"] == "complete"


@pytest.mark.parametrize(
    "task, message",
    [
        ({"heldout": {"name": "perplexity", "path": "x"}}, "tasks.heldout: eval/heldout is of"),
        ({"a": {"name": "perplexity", "path": "gone"}}, "tasks.a: path: no file or folder 'gone'"),
        ({"a": {"name": "labelled", "path": "x"}}, "tasks.a: the run's model has no head"),
        ({"a": {"name": "blimp"}}, "tasks.a.name: no evaluation.tasks named 'blimp'"),
        ({"a": "perplexity"}, "tasks.a.path is missing"),
        ({"a b": "perplexity"}, "a label has letters, digits, _ and - alone"),
    ],
)
def test_a_bad_task_is_refused_before_training(tmp_path, task, message):
    with pytest.raises(UserError) as caught:
        loop.train(runs_in(tmp_path, evaluation={"tasks": task}))
    assert message in str(caught.value)
    assert not list(tmp_path.rglob("checkpoints/step_*"))


def test_whole_text_is_scored_once_behind_a_sliding_window():
    task = task_of("decoder")
    params, run = params_of(task), evaluation_tasks.text_run(task)
    scores = heldout.heldout_likelihoods(task, run)["heldout_whole"](params)
    tokens = np.asarray(task.dataset.heldout.tokens).tolist()
    text, nats = [END, *tokens], 0.0
    given, scored = LENGTH // 2 + 1, LENGTH // 2
    for begin in range(1, len(text), scored):
        before, target = text[max(0, begin - given) : begin], text[begin : begin + scored]
        nats -= by_one_pass(task, params, before, target)[0]
    assert scores.statistics["weight"].sum() == len(tokens)
    assert scores.statistics["nll"].sum() == pytest.approx(nats, rel=1e-5)
    assert scores.values["bits_per_byte"] == pytest.approx(
        nats / np.log(2) / sum(token != END for token in tokens), rel=1e-5
    )


def test_documents_that_are_isolated_are_scored_alone():
    task = task_of("decoder", {"data.isolate_documents": True})
    params, run = params_of(task), evaluation_tasks.text_run(task)
    scores = heldout.heldout_likelihoods(task, run)["heldout_whole"](params)
    tokens = np.asarray(task.dataset.heldout.tokens)
    documents = [part.tolist() for part in np.split(tokens, np.flatnonzero(tokens == END) + 1)]
    nats = 0.0
    for document in documents:
        for begin in range(0, len(document), LENGTH // 2):
            before = [END, *document][max(0, begin - LENGTH // 2) : begin + 1]
            nats -= by_one_pass(task, params, before, document[begin : begin + LENGTH // 2])[0]
    assert scores.statistics["nll"].sum() == pytest.approx(nats, rel=1e-5)


def test_records_are_scored_one_by_one(tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_text("".join(f"{'ab' * (i % 3)}c\t{i % 2}\n" for i in range(60)))
    task = task_of(
        "decoder",
        {
            "objective": {"name": "classification"},
            "data": {"source": {"name": "labelled", "path": str(path)}, "length": 8},
        },
    )
    params = params_of(task)
    scores = heldout.heldout_likelihoods(task, evaluation_tasks.text_run(task))["heldout_whole"](
        params
    )
    records = len(task.dataset.heldout.records.offsets)
    assert bootstrap.documents(scores.statistics) == records
    assert set(scores.values) == {"nll", "accuracy"}


def test_stretches_of_two_tokenizers_are_of_the_same_text():
    by_bytes, by_words = np.ones(1000), np.tile([1.0, 4.0, 0.0, 5.0], 100)
    one, other = heldout._stretches(by_bytes), heldout._stretches(by_words)
    assert len(one) == len(other) == heldout.STRETCHES
    assert one[-1] == 1000
    assert other[-1] == 400
    ends = np.cumsum(by_words)[other - 1]  # none is further than a token from its place
    assert (np.abs(ends - np.cumsum(by_bytes)[one - 1]) < 5).all()
