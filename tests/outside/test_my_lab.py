"""What a researcher adds from outside in one file each, trained, launched and reported: my_lab."""

import dataclasses
import importlib
import io
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab import registry
from lm_lab.data.text import Text
from lm_lab.engine import placement, sharding
from lm_lab.runs.trust import trusting
from lm_lab.schema import setting
from lm_lab.sweeps import executors
from lm_lab.sweeps import launch as launching
from lm_lab.sweeps.algebra import param
from lm_lab.train import loop, restore, trust
from lm_lab.train.compiled import compile_program
from lm_lab.train.program import assemble
from lm_lab.train.run import Run
from lm_lab.types import UserError
from tests import tiny
from tests.evaluation.tasks import fakes as answers
from tests.sweeps import fakes

SYNTHETIC = {"name": "synthetic", "order": 1, "documents": 60, "document_bytes": 128}
PEAK, WARMUP, STEPS = 2.0, 4, 40
CHANGES = {
    "model": {"family": "my_lab.bag", "width": 8},
    "objective": {"name": "my_lab.halved"},
    "data": {
        "source": {
            "name": "my_lab.blend",
            "first": {**SYNTHETIC, "symbols": 4},
            "second": {**SYNTHETIC, "symbols": 4, "language_seed": 1},
            "share": 2,
        },
        "tokenizer": "my_lab.letters",
        "length": tiny.LENGTH,
    },
    "optimizer": {"name": "my_lab.momentum", "peak_rate": PEAK, "momentum": 0.5},
    "schedule": {"name": "my_lab.inverse_root", "warmup_steps": WARMUP},
    "adapter": {"name": "my_lab.eight_bits", "train": ["mix*", "head*"]},
    "train.steps": STEPS,
}


@pytest.fixture(autouse=True)
def my_lab(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(experiment, result, folder) of a run that all of my_lab has a part in."""
    folder = tmp_path_factory.mktemp("outside") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        experiment, resolved = tiny.resolve(CHANGES)
        (result,) = loop.train([Run(experiment, resolved, folder)])
    return experiment, result, folder


def test_a_family_an_objective_and_an_optimizer_train(trained):
    _, result, _ = trained
    assert result["status"] == "complete"
    assert result["params"]["total"] == 2 * 257 * 8 + 8 * 8
    # A uniform guess is log 257 = 5.5; the text has four symbols, log 4 = 1.4.
    assert result["final"]["eval/heldout/nll"] < 4
    # Of the readout forward and both gradients; of the mix none of its input, which is not trained.
    assert result["flops_per_token"]["counted"] == 2 * (3 * 8 * 257 + 2 * 8 * 8)


@pytest.mark.parametrize(
    "wrong, found",
    [
        (lambda logits: None, "a NoneType"),
        (lambda logits: logits[:, -1], r"float32\[1, 257\]"),
        (lambda logits: logits[..., :-1], rf"float32\[1, {tiny.LENGTH}, 256\]"),
    ],
)
def test_a_model_without_logits_is_named(monkeypatch, wrong, found):
    bag = importlib.import_module("my_lab.bag")
    given = bag.Model.__call__
    monkeypatch.setattr(bag.Model, "__call__", lambda self, inputs: wrong(given(self, inputs)))
    task = tiny.bound(tiny.resolve({"model": CHANGES["model"]})[0])
    shape = rf"i32\[1, {tiny.LENGTH}\]; return logits f32\[1, {tiny.LENGTH}, 257\]"
    with pytest.raises(UserError, match=rf"a model of 'my_lab\.bag' gives {found}.*{shape}"):
        assemble(task)


def test_a_family_without_a_vocabulary_is_named(monkeypatch):
    bag, momentum = (importlib.import_module(f"my_lab.{name}") for name in ("bag", "momentum"))
    monkeypatch.setattr(bag, "FAMILY", bag.FAMILY._replace(Config=momentum.Config))
    with pytest.raises(UserError, match=r"'my_lab\.bag' has a Config without a field vocab"):
        registry.load("models", "my_lab.bag", "config.model.family")


def test_a_schedule_sets_the_rate(trained):
    _, _, folder = trained
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["rate"] for line in lines if "rate" in line}
    assert len(rates) == STEPS // 2
    for end, rate in rates.items():  # the line of `end` steps has the rate of step end - 1
        assert rate == pytest.approx(PEAK * min(end / WARMUP, (WARMUP / end) ** 0.5), rel=1e-5)


def test_a_source_mixes_others_and_a_tokenizer_cuts_them(trained):
    experiment, _, _ = trained
    codec = Text(experiment.data).codec
    assert codec.decode(codec.encode("ABc")) == "abc"
    settings = experiment.data.source.settings
    from my_lab import blend

    names = [document.text[:8] for document in blend.documents(settings)][:6]
    first, second = (
        [document.text[:8] for document in source.documents(chosen)]
        for source, chosen in blend._loaded(settings)
    )
    assert names == [*first[:2], second[0], *first[2:4], second[1]]


def test_a_metric_is_taken_of_the_trained_model(trained):
    assert 0 < trained[1]["final"]["eval/heldout/root_mean_square"] < 10


def test_an_adapter_stores_what_is_frozen_in_eight_bits(trained):
    with trusting(["my_lab"]):
        _, _, adapter = restore.load_adapter(trained[2])
        _, _, params = restore.load_params(trained[2])
    steps = adapter.frozen["steps"]["embed"]["embedding"]
    assert steps.dtype == jnp.int8
    assert jnp.abs(steps).max(0).tolist() == [127] * 8  # the largest entry of each column
    sizes = adapter.frozen["sizes"]["embed"]["embedding"]
    np.testing.assert_array_equal(params["embed"]["embedding"], steps * sizes)


def test_a_stored_file_names_no_untrusted_module_within_the_settings_of_a_trusted_one(trained):
    values = json.loads((trained[2] / "config.json").read_text())
    values["data"]["source"]["second"] = "evil.source"
    with (
        trusting(["my_lab"]),
        pytest.raises(UserError, match=r"data\.source\.second\.name names 'evil\.source'"),
    ):
        trust.check(values, Path("config.json"))


def test_a_position_scheme_is_added_to_scores():
    texts = tiny.inputs("decoder", tiny.tokens())

    def logits(scheme):
        experiment, _ = tiny.resolve({"model.positions": scheme})
        model = tiny.bound(experiment).model
        return jax.jit(model.apply)({"params": tiny.params_of(model, texts)}, texts)

    flat = logits({"name": "my_lab.logarithmic", "strength": 0.0})
    assert tiny.distance(flat, logits("none")) < tiny.ROUNDING
    assert tiny.distance(flat, logits("my_lab.logarithmic")) > 100 * tiny.ROUNDING


def test_a_batch_may_be_written_by_the_parameters_of_its_step():
    from my_lab import rollouts

    changes = {"model": {"family": "my_lab.bag", "width": 8}, "optimizer.peak_rate": 1.0}
    task = tiny.bound(tiny.resolve(changes)[0])
    program = compile_program([task])
    batch = rollouts.batch(task.model, tiny.ROWS, tiny.LENGTH + 1)
    engine = program.engine._replace(batch=batch)
    state = program.start()
    first = engine.batch(0, 2, state)
    assert tiny.same_bits(first, engine.batch(0, 2, state))
    state, metrics = engine.step(state, first)
    assert jnp.isfinite(metrics["nll"]).all()
    assert not tiny.same_bits(engine.batch(0, 2, state), first)  # the parameters have moved


def test_an_axis_of_the_mesh_is_a_row_of_each_table(monkeypatch):
    """Layers over devices of their own: AXES, placement.rules and a setting."""

    @dataclasses.dataclass(frozen=True)
    class Config(sharding.Config):
        layers: int = setting("devices over which layers are spread", 1, low=1)

    rules = placement.rules
    monkeypatch.setattr(sharding, "AXES", (*sharding.AXES, "layers"))
    monkeypatch.setattr(
        placement, "rules", lambda zero, kind: rules(zero, kind) | {"layers": ("layers",)}
    )
    mesh = sharding.make_mesh(Config(data=2, layers=2))
    state = assemble(tiny.bound(tiny.resolve()[0])).state
    placed = sharding.state_shardings(mesh, state).params
    up = placed["layers"]["feed_forward"]["up"]["kernel"]
    assert up.shard_shape((2, 16, 64)) == (1, 16, 64)  # N D F


@pytest.mark.processes
def test_an_executor_runs_a_sweep(tmp_path, monkeypatch):
    environment = {"command": "lm-lab sweep", "devices": {"platform": "cpu"}}
    monkeypatch.setattr(launching, "worker_environment", lambda: environment)
    queue = executors.choose("my_lab.in_turn", {"queue": "long"})
    study = fakes.study_of(param("seed", [0, 1]))
    command = fakes.command_in(tmp_path)
    summary = launching.launch(
        study, tmp_path / "sweep", fakes.resolve, command, queue, stream=io.StringIO()
    )
    assert summary.finished
    log = tmp_path / "sweep" / "runs" / summary.rows[0]["name"] / "log.txt"
    assert log.read_text() == "queue long\n"


def test_a_task_is_put_to_a_model():
    task = registry.load("evaluation.tasks", "my_lab.shouting", "task")
    scores = task.prepare(task.Config(words=("hey", "you")))(answers.model(written=str.upper))
    assert scores.values == {"loud": 1.0}
