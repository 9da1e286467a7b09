"""The laws of training with an adapter: what moves, what is saved, what it costs."""

import os
import shutil
import signal
from functools import cache

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from lm_lab import config as configs
from lm_lab.engine.sharding import unbox
from lm_lab.engine.state import frozen_slot
from lm_lab.engine.step import accumulate, chunk, gradients, populate
from lm_lab.library.runs import open_run
from lm_lab.nn.trees import flatten
from lm_lab.runs.commits import committed, read_record
from lm_lab.train import initial, loop, restore
from lm_lab.train import program as programs
from lm_lab.train.compiled import compile_program
from lm_lab.train.preemption import Preempted
from lm_lab.train.run import Run
from lm_lab.train.shapes import abstract_examples
from lm_lab.train.writer import RunWriter
from lm_lab.types import UserError
from tests import tiny
from tests.tiny import DEPTH, LENGTH, ROUNDING, ROWS, WIDTH, distance, member, same_bits
from tests.train.launched import compile_once

LORA = {"adapter.name": "lora", "adapter.rank": 2, "adapter.dropout": 0.2}
BYTES = 257


@pytest.fixture(autouse=True)
def shared_programs(monkeypatch):
    """Runs of one program compile it once."""
    monkeypatch.setattr(loop, "compile_program", compile_once)


def run_of(directory, changes):
    return Run(*tiny.resolve(changes), directory)


@cache
def compiled_engine(also=False):
    """(a function of some steps, the same compiled, the compiled initialisation) of a run with an
    adapter.
    """
    changes = LORA | ({"adapter.also_train": ["head"]} if also else {})
    program = programs.assemble(tiny.bound(tiny.resolve(changes)[0]))
    step = chunk(program.step)
    return step, jax.jit(step), jax.jit(lambda hyper: unbox(program.init(hyper, {})))


def hyper(seed):
    return programs.hyper_of(tiny.resolve(LORA | {"seed": seed})[0])


def one_step(seed):
    """The examples of a step."""
    return jax.tree.map(lambda x: x[None], tiny.examples(seed=seed))


@cache
def stepped(also=False):
    """(state before, state after two steps, metrics of the second) of a run with an adapter."""
    _, step, init = compiled_engine(also)
    before = init(hyper(seed=0))
    between, _ = step(before, one_step(0))
    return before, *step(between, one_step(1))


def test_only_adapters_move_and_only_they_have_moments():
    before, after, metrics = stepped()
    assert same_bits(after.slots, before.slots)
    assert not any(
        same_bits(a, b)
        for a, b in zip(jax.tree.leaves(after.params), jax.tree.leaves(before.params), strict=True)
    )
    trained = sum(leaf.size for leaf in jax.tree.leaves(before.params))
    assert sum(leaf.size for leaf in jax.tree.leaves(after.opt_state) if leaf.ndim) == 2 * trained
    assert np.isfinite(metrics["nll"]).all()


def test_what_is_trained_beside_adapters_moves_and_is_not_adapted():
    before, after, _ = stepped(also=True)
    assert list(flatten(after.params["params"])) == ["head/kernel"]
    assert not same_bits(after.params["params"], before.params["params"])
    assert "head" not in before.slots["frozen"]
    assert "head" not in before.params["lora"]


def test_accumulated_is_one_batch():
    experiment = tiny.resolve(LORA | {"adapter.dropout": 0.0})[0]
    objective, adapter = tiny.bound(experiment).objective, tiny.bound(experiment).adapter
    gradient = gradients(tiny.bound(experiment).model, objective, "float32", adapter)
    state = stepped()[1]
    batch = objective.prepare(jax.random.key(0), tiny.examples())
    whole, parts = (
        jax.jit(accumulate(gradient, m))(
            state.params, batch, jax.random.key(0), state.slots["frozen"]
        )
        for m in (1, 4)
    )
    assert distance(parts, whole) < ROUNDING


def test_a_step_computes_no_gradient_of_what_is_frozen():
    body, head, rank = 12 * DEPTH * WIDTH**2, WIDTH * BYTES, 2
    adapted = DEPTH * rank * (4 * 2 * WIDTH + 2 * 5 * WIDTH)
    attention = 12 * DEPTH * WIDTH * LENGTH
    # Forward and back through every kernel, and all three products of the adapters.
    assert programs.assemble(tiny.bound(tiny.resolve(LORA)[0])).flops_per_step == (
        ROWS * LENGTH * (4 * (body + head) + 6 * adapted + attention)
    )
    # XLA counts elementwise work as well, of which an adapter makes a little.
    full, low = (
        flops_of_xla({"model.scan": False} | changes)
        for changes in ({}, LORA | {"adapter.dropout": 0.0})
    )
    saved = ROWS * LENGTH * (2 * (body + head) - 6 * adapted)
    assert full - low > 0.9 * saved


def flops_of_xla(changes):
    """XLA's count of a gradient."""
    experiment = tiny.resolve(changes)[0]
    state, objective = (
        unbox(programs.assemble(tiny.bound(experiment)).state),
        tiny.bound(experiment).objective,
    )
    key = jax.random.key(0)
    batch = jax.eval_shape(objective.prepare, key, abstract_examples(tiny.bound(experiment), ROWS))
    gradient = gradients(
        tiny.bound(experiment).model, objective, "float32", tiny.bound(experiment).adapter
    )
    lowered = jax.jit(gradient).lower(state.params, batch, key, state.slots["frozen"])
    return (lowered.cost_analysis() or {})["flops"]


# A map of members that share nothing is one of runs without an adapter (engine/test_step.py).
@pytest.mark.parametrize("how, shared", [("map", True), ("vmap", True), ("vmap", False)])
def test_a_member_of_a_population_is_its_solo_run(how, shared):
    (step, compiled, init), slots = compiled_engine(), {"frozen": frozen_slot(shared)}
    starts = [init(hyper(seed)) for seed in (0, 7)]
    if shared:
        starts = [state._replace(slots=starts[0].slots) for state in starts]
    examples = [one_step(seed) for seed in (0, 7)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *starts)
    if shared:
        stacked = stacked._replace(slots=starts[0].slots)
    together, _ = jax.jit(populate(step, how, slots))(
        stacked, jax.tree.map(lambda *x: np.stack(x), *examples)
    )
    for index, (own, text) in enumerate(zip(starts, examples)):
        solo, _ = compiled(own, text)
        # B begins at 0, so it equals the update, whose rounding no larger value hides.
        assert distance(member(together.params, index), solo.params) < 5 * ROUNDING


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The directory of a run from which others are initialised."""
    return trained(run_of(tmp_path_factory.mktemp("base") / "run", {"train.steps": 4}))[0]


@pytest.fixture(scope="module")
def adapted(base, tmp_path_factory):
    """(directory, result) of a run with an adapter that was initialised from `base`."""
    return trained(tuned(tmp_path_factory.mktemp("adapted") / "run", base))


def trained(run):
    """(directory, result) of a run, for fixtures of the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "compile_program", compile_once)
        return run.directory, loop.train([run])[0]


def tuned(directory, base, **more):
    return run_of(
        directory,
        LORA | {"train.initial": str(base)} | {k.replace("__", "."): v for k, v in more.items()},
    )


def test_a_run_begins_with_another_and_saves_its_adapter_alone(base, adapted):
    directory, result = adapted
    begun = restore.load_params(base)[2]
    assert result["params"]["trained"] == DEPTH * 2 * (8 * WIDTH + 10 * WIDTH)
    arrays = read_record(committed(directory / "checkpoints")[0], verified=False).arrays
    assert not any("embed" in name or name.endswith(".kernel") for name in arrays)
    merged = restore.load_params(directory)[2]
    assert same_bits(merged["embed"], begun["embed"])
    assert distance(merged["layers"], begun["layers"]) > 1e-4


def test_what_was_adapted_without_a_beginning_is_found_again_from_its_seed(tmp_path):
    loop.train([run_of(tmp_path, LORA)])
    family, config, params = restore.load_params(tmp_path)
    assert (family, config.width) == ("decoder", WIDTH)
    assert params["head"]["kernel"].shape == (WIDTH, BYTES)


def test_full_fine_tuning_begins_where_the_other_ended(base, tmp_path):
    state = member(
        compile_program([tiny.bound(tiny.resolve({"train.initial": str(base)})[0])]).start(), 0
    )
    assert same_bits(state.params, restore.load_params(base)[2])
    assert not jax.tree.leaves(state.slots)


def test_a_resumed_run_ends_in_the_bits_of_an_undisturbed_one(base, adapted, tmp_path, monkeypatch):
    log = RunWriter.log

    def interrupted(self, *args):
        os.kill(os.getpid(), signal.SIGTERM)
        log(self, *args)

    stopped = tuned(tmp_path / "stopped", base)
    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "log", interrupted)
        with pytest.raises(Preempted):
            loop.train([stopped])
    loop.train([stopped])
    ends = (restore.load_params(each)[2] for each in (adapted[0], stopped.directory))
    assert same_bits(*ends)


def test_another_base_is_refused(base, tmp_path):
    copy = tmp_path / "base"
    shutil.copytree(base, copy)
    run = tuned(tmp_path / "run", copy)
    loop.train([run])
    (tmp_path / "run" / "result.json").unlink()
    shutil.rmtree(copy)
    loop.train([run_of(copy, {"train.steps": 4, "seed": 5})])
    with pytest.raises(UserError, match="its adapter was trained on other parameters than"):
        loop.train([run])
    with pytest.raises(UserError, match="its adapter was trained on other parameters"):
        restore.load_params(tmp_path / "run")


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"model.heads": 4},
            "config.train.initial is of a model with other settings; give --config.model.heads=2$",
        ),
        (
            {"model.vocab": 300},
            r"parameter embed/embedding is \[257, 16\] there and \[300, 16\] by config.model",
        ),
        ({"adapter.targets": ["nothing"]}, "config.adapter.targets: no parameters match 'nothing'"),
        (
            {"adapter.also_train": ["nothing"]},
            "config.adapter.also_train: no parameters match 'nothing'",
        ),
        ({"adapter.rnak": 3}, "config.adapter.rnak does not exist; did you mean 'rank'?"),
    ],
    ids=str,
)
def test_mistakes_are_named_before_anything_is_stored(base, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        loop.train([run_of(tmp_path / "run", LORA | {"train.initial": str(base)} | changes)])
    assert not (tmp_path / "run" / "config.json").exists()


def test_members_that_begin_with_one_run_share_it_and_are_their_solo_runs(base, adapted, tmp_path):
    together = [tuned(tmp_path / f"member{seed}", base, seed=seed) for seed in (1, 0)]
    compiled = compile_program([tiny.bound(run.experiment) for run in together])
    assert compiled.program.slots["frozen"].shared
    assert jax.tree.leaves(compiled.start().slots)[0].ndim == 2
    loop.train(together)
    ends = (restore.load_params(each)[2] for each in (tmp_path / "member0", adapted[0]))
    assert same_bits(*ends)


def test_the_state_is_sharded_as_its_kernels_are(base, tmp_path):
    changes = {
        "mesh.data": 2,
        "mesh.fsdp": 2,
        "mesh.tensor": 2,
        "adapter.dora": True,
        "adapter.dropout": 0.0,
    }
    sharded = loop.train(
        [run_of(tmp_path / "sharded", LORA | {"train.initial": str(base)} | changes)]
    )[0]
    solo = loop.train([tuned(tmp_path / "solo", base, adapter__dora=True, adapter__dropout=0.0)])[0]
    assert sharded["final"]["eval/heldout/nll"] == pytest.approx(
        solo["final"]["eval/heldout/nll"], rel=1e-4
    )
    experiment = tiny.resolve(LORA | {"train.initial": str(base)} | changes)[0]
    shardings = flatten(compile_program([tiny.bound(experiment)]).placed.params["lora"])
    assert shardings["layers/feed_forward/up/down_kernel"].spec == jax.P(
        "population", "pipeline", "fsdp", None
    )
    assert shardings["layers/feed_forward/up/up_kernel"].spec == jax.P(
        "population", "pipeline", None, "tensor"
    )
    assert shardings["layers/feed_forward/up/magnitude"].spec == jax.P(
        "population", "pipeline", "tensor"
    )


@pytest.mark.parametrize("adapter", ["freeze", "lora"])
def test_a_probe_reads_the_features_of_a_run_by_a_head_that_it_trains(base, tmp_path, adapter):
    rows = [f"{'ab'[i % 2] * (5 + i % 7)}\t{i % 2}" for i in range(64)]
    (tmp_path / "rows.tsv").write_text("\n".join(rows))
    changes = {"objective": {"name": "classification", "classes": 2, "pooling": "mean"}}
    changes |= {
        "data": {
            "source": {"name": "labelled", "path": str(tmp_path / "rows.tsv")},
            "length": LENGTH,
        }
    }
    changes |= {
        "train.initial": str(base),
        "train.steps": 40,
        "optimizer.peak_rate": 0.1,
        "adapter.name": adapter,
    }
    changes |= {"adapter.also_train": ["head"], "adapter.rank": 2} if adapter == "lora" else {}
    experiment, resolved = configs.resolve(configs.override(ConfigDict(tiny.RUN), changes))
    run = Run(experiment, resolved, tmp_path / "run")
    state = compile_program([tiny.bound(experiment)]).start()
    begun = restore.load_params(base)[2]
    assert same_bits(state.slots["frozen"]["model"]["layers"], begun["layers"])
    head = state.params["params"]["head"] if adapter == "lora" else state.params["head"]
    assert head["kernel"].shape == (1, WIDTH, 2)
    final = loop.train([run])[0]["final"]
    assert final["eval/heldout/accuracy"] == 1.0
    trained = open_run(run.directory)
    scores = trained.evaluate({"rows": {"name": "labelled", "path": str(tmp_path / "rows.tsv")}})
    assert scores["rows"]["accuracy"].value == 1.0
    with pytest.raises(UserError, match=r"learnt labels of texts, and writes nothing"):
        trained.generate("a")
    if adapter == "freeze":
        _is_read_as_it_was_trained(trained)


def _is_read_as_it_was_trained(trained):
    """`logits` of a text are those of the task, and `features` those of the model below the head,
    of which another objective can begin.
    """
    (outputs,) = trained.scorer.model.outputs(["abab"])
    np.testing.assert_allclose(trained.logits("abab")[0], outputs, rtol=0, atol=ROUNDING)
    with pytest.raises(UserError, match=r"context: the model of .* reads none; leave it out"):
        trained.logits("abab", context="a")
    alone, beside = trained.features(["abab"], "last"), trained.features(["abab", "ba" * 4], "last")
    np.testing.assert_allclose(alone[0], beside[0], rtol=0, atol=ROUNDING * abs(alone).max())
    changes = {"train.initial": str(trained.directory)}
    begun = configs.resolve(configs.override(ConfigDict(tiny.RUN), changes))[0]
    given = initial.read(begun, tiny.bound(begun).text)
    assert same_bits(given, flatten(trained.params["model"]))
