"""Runs on records, end to end: generated targets are scored, a resumed run gives the same scores,
and `evaluate` reproduces them.
"""

import json

import jax
import pytest

from lm_lab.cli import evaluate as command
from lm_lab.data.records import TEXTS
from lm_lab.runs import records
from lm_lab.train import loop, restore
from lm_lab.train.compiled import compile_program
from lm_lab.train.evaluate import evaluate
from lm_lab.train.program import assemble
from lm_lab.train.run import Run
from lm_lab.train.shapes import abstract_examples
from lm_lab.types import UserError
from tests import tiny
from tests.pairs import run as of_pairs


def run_in(tmp_path, changes=()):
    changes = {**of_pairs(tmp_path), "train.steps": 4, **dict(changes)}
    return Run(*tiny.resolve(changes), tmp_path / "run")


@pytest.fixture
def trained(tmp_path):
    measures = {"objective.measures": ["exact_match", "edit_rate"], "train.average_decay": 0.5}
    run = run_in(tmp_path, measures)
    (result,) = loop.train([run])
    return run, result


def test_what_is_written_is_measured_and_evaluate_finds_the_same(trained, capsys, monkeypatch):
    run, result = trained
    assert result["status"] == "complete"
    final = {name: value for name, value in result["final"].items() if name.startswith("eval/")}
    assert set(final) == {
        f"eval/{evaluation}/{name}"
        for evaluation in ("heldout", "heldout_average")
        for name in ("nll", "bits_per_byte", "exact_match", "edit_rate")
    }
    (metric,) = compile_program([tiny.bound(run.experiment)]).feed.metrics["heldout"]
    for evaluation, average in (("heldout", False), ("heldout_average", True)):
        written = metric.measure(restore.load_params(run.directory, average)[2])
        assert {f"eval/{evaluation}/{name}": value for name, value in written.items()}.items() <= (
            final.items()
        )
    assert evaluate(run) == (4, pytest.approx(final))
    stored = records.read_result(run.directory)
    assert stored is not None
    records.write_result(run.directory, {**stored, "final": {}})
    monkeypatch.setattr(
        command.devices, "start", lambda mesh: None
    )  # the devices of the suite are there
    assert command.run([f"--workdir={run.directory}"]) == 0
    assert json.loads((run.directory / "result.json").read_text())["final"] == pytest.approx(final)
    assert "step 4; eval/heldout/" in capsys.readouterr().out


def test_a_run_that_was_stopped_before_it_wrote_is_measured_all_the_same(trained, monkeypatch):
    run, result = trained
    (run.directory / "result.json").unlink()
    (resumed,) = loop.train([run])
    assert resumed["final"] == result["final"]


def test_a_curve_is_measured_where_it_is_asked_for(tmp_path):
    run = run_in(tmp_path, {"objective.measured": "always", "train.eval_every_steps": 2})
    (result,) = loop.train([run])
    curve = [
        line for line in records.read_metrics(run.directory) if "eval/heldout/exact_match" in line
    ]
    assert [line["step"] for line in curve] == [2, 4]
    assert curve[-1]["eval/heldout/exact_match"] == result["final"]["eval/heldout/exact_match"]


def test_evaluate_needs_a_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"holds no checkpoint; train it first"):
        evaluate(run_in(tmp_path))
    with pytest.raises(UserError, match=r"none: no such folder .*name the directory of a run"):
        command.run([f"--workdir={tmp_path / 'none'}"])
    with pytest.raises(UserError, match=r"lm-lab convert --from=owner/name --to=FOLDER"):
        command.run(["--workdir=owner/name"])


def test_classes_and_values_are_learnt(tmp_path):
    (tmp_path / "a.tsv").write_text(
        "".join(f"text {number}\t{number % 2}\n" for number in range(80))
    )
    data = {"source": {"name": "labelled", "path": str(tmp_path / "a.tsv")}, "length": 12}
    for name, measured in (("classification", "accuracy"), ("regression", "spearman")):
        changes = {"objective": {"name": name}, "data": data, "train.steps": 2}
        (result,) = loop.train([Run(*tiny.resolve(changes), tmp_path / name)])
        assert -1 <= result["final"][f"eval/heldout/{measured}"] <= 1
        assert "eval/heldout/bits_per_byte" not in result["final"]
        head = restore.load_params(tmp_path / name)[2]["head"]
        assert head["bias"].shape == (2 if name == "classification" else 1,)
    (tmp_path / "a.tsv").write_text("".join(f"text {number}\t{number}\n" for number in range(80)))
    wrong = Run(
        *tiny.resolve({"objective": {"name": "classification"}, "data": data}), tmp_path / "b"
    )
    with pytest.raises(
        UserError, match=r"config\.objective\.classes: \d+ labels are none of 0 \.\. 1"
    ):
        compile_program([tiny.bound(wrong.experiment)])


@pytest.mark.parametrize("pack", [False, True])
def test_a_step_on_preferences_has_the_shapes_of_the_loader(pack, tmp_path):
    names = {name: name for name in ("prompt", "chosen", "rejected")}
    lines = [json.dumps({**names, "prompt": str(number)}) for number in range(60)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    source = {"name": "files", "path": str(tmp_path / "a.jsonl"), **names}
    data = {"source": source, "length": 80, "pack": pack}
    task = tiny.bound(tiny.resolve({"objective": {"name": "reward"}, "data": data})[0])
    examples = task.examples(0)
    expected = abstract_examples(task, len(examples.tokens))
    found = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), examples)
    assert found == expected
    assert assemble(task).params["head"] == task.experiment.model.settings.width + 1
    batch = jax.eval_shape(task.objective.prepare, jax.random.key(0), expected)
    assert batch.weights.shape == (len(examples.tokens), TEXTS if pack else 2)


@pytest.mark.parametrize("family", ["decoder", "encoder", "encoder_decoder", "rnn", "state_space"])
def test_every_family_can_be_asked_for_a_class(family, tmp_path):
    (tmp_path / "a.tsv").write_text(
        "".join(f"text {number}\t{number % 2}\n" for number in range(80))
    )
    data = {"source": {"name": "labelled", "path": str(tmp_path / "a.tsv")}, "length": 12}
    changes = {
        "model": {"family": family, "width": 16},
        "objective": {"name": "classification"},
        "data": data,
    }
    program = assemble(tiny.bound(tiny.resolve(changes)[0]))
    assert program.params["head"] >= 2 * 16 + 2
    assert program.flops_per_step > 6 * program.params["matmul_body"] * tiny.ROWS


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"objective": {"name": "causal"}},
            r"'causal' learns from a stream of text, .*'pairs' gives pairs of texts",
        ),
        ({"objective": {"name": "regression"}}, r"learns from labelled texts"),
        (
            {"data": {"source": "synthetic"}},
            r"'seq2seq' learns from pairs of texts, .*'synthetic' gives a stream",
        ),
        (
            {"model.length": 30, "model.positions": "learned"},
            r"config\.model\.length 30 is below the data's 35",
        ),
    ],
)
def test_data_and_objective_that_do_not_fit(tmp_path, changes, message):
    base = of_pairs(tmp_path)
    if "data" in changes:
        base = {key: value for key, value in base.items() if not key.startswith("data.")}
    with pytest.raises(UserError, match=message):
        tiny.resolve({**base, **changes})
