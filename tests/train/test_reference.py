"""Likelihoods under the model that training starts from: that model compared with itself has the
loss ln 2, and what was computed once is read again, or computed in the same bits.
"""

import json
import math
import shutil

import jax
import numpy as np
import pytest

from lm_lab.compute import flops
from lm_lab.data.store import cache_directory
from lm_lab.library.pace import Pace
from lm_lab.library.planning import Machine, describe
from lm_lab.runs.config import write_config
from lm_lab.train import carried, restore
from lm_lab.train.plan import plan
from lm_lab.train.reference import References
from lm_lab.train.shapes import abstract_examples
from lm_lab.types import Inputs, UserError
from tests import tiny

MACHINE = Machine(lambda: Pace(None, "no machine"), None)
FIELDS = {name: name for name in ("prompt", "chosen", "rejected")}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The directory of a run with random parameters, and preferences in a file beside it."""
    place = tmp_path_factory.mktemp("dpo")
    _, resolved = tiny.resolve({"train.batch_size": 4})
    directory = place / "base"
    directory.mkdir()
    write_config(directory, carried.relative(resolved))
    shapes = restore.abstract_params("decoder", tiny.resolve()[0].model.settings)
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: random.normal(0, 0.3, leaf.shape).astype("f4"), shapes)
    restore.write_params(directory, params)
    lines = [
        {"prompt": f"{number}", "chosen": f"yes {number % 7}", "rejected": "no" * (1 + number % 3)}
        for number in range(40)
    ]
    (place / "answers.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return directory


def task_of(base, changes=()):
    source = {"name": "files", "path": str(base.parent / "answers.jsonl"), **FIELDS}
    own = {
        "objective": {"name": "dpo"},
        "data": {"source": source, "length": 32},
        "train.batch_size": 4,
        "train.initial": str(base),
    }
    return tiny.bound(tiny.resolve({**own, **dict(changes)})[0])


def kept():
    return sorted(cache_directory().with_name("references").iterdir())


def test_the_loss_begins_at_ln_2(base):
    task = task_of(base)
    found = task.evaluate(restore.load_params(base)[2])
    assert found["nll"] == pytest.approx(math.log(2), abs=1e-6)
    assert found["chosen_gain"] == pytest.approx(0, abs=1e-4)
    examples = task.examples(0)
    given = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), examples)
    assert given == abstract_examples(task, 4)
    assert (np.asarray(examples.reference) < 0).all()


def test_rows_that_are_packed_and_adapters_give_the_same_numbers(base):
    alone = task_of(base).batches(task_of(base).dataset.train, 0).records.reference
    packed = task_of(base, {"data.pack": True, "data.length": 64, "adapter.name": "lora"})
    others = packed.batches(packed.dataset.train, 0).records.reference
    # attention over more padding adds the same terms in another order
    np.testing.assert_allclose(others, alone, rtol=10 * tiny.ROUNDING)


def test_it_is_computed_once_and_again_in_the_same_bits(base, monkeypatch):
    task = task_of(base)
    first = np.asarray(task.examples(2).reference)
    files = kept()
    computing = "lm_lab.train.reference.References._computed"
    with monkeypatch.context() as patch:
        patch.setattr(computing, lambda *_: pytest.fail("it is computed again"))
        assert np.asarray(task_of(base).examples(2).reference).tobytes() == first.tobytes()
    shutil.rmtree(files[0].parent)
    assert np.asarray(task_of(base).examples(2).reference).tobytes() == first.tobytes()


@pytest.mark.parametrize("mesh", [{"data": 2, "fsdp": 2, "zero": 3}, {"data": 4096}])
def test_a_mesh_gives_the_same_numbers(base, monkeypatch, mesh):
    """Parameters lie where those that are trained do; a mesh that is not here is not needed."""
    alone = task_of(base).batches(task_of(base).dataset.train, 0).records.reference
    shutil.rmtree(cache_directory().with_name("references"))
    computed, places = References._computed, set()

    def seen(self, batches, params, mesh):
        places.update(str(leaf.sharding.spec) for leaf in jax.tree.leaves(params))
        return computed(self, batches, params, mesh)

    monkeypatch.setattr(References, "_computed", seen)
    task = task_of(base, {"mesh": mesh})
    there = task.batches(task.dataset.train, 0).records.reference
    np.testing.assert_allclose(there, alone, rtol=10 * tiny.ROUNDING)
    assert any("fsdp" in place and "data" in place for place in places) == ("zero" in mesh)


def test_a_plan_counts_the_pass_and_computes_nothing(base, monkeypatch):
    computing = "lm_lab.train.reference.References._computed"
    monkeypatch.setattr(computing, lambda *_: pytest.fail("a plan computes"))
    task = task_of(base, {"train.batch_size": 3})
    shutil.rmtree(cache_directory().with_name("references"), ignore_errors=True)
    planned = plan(task)
    params, rows = restore.load_params(base)[2], jax.ShapeDtypeStruct((3, 32), "int32")
    forward = flops.count(
        lambda tokens: task.reference_model.apply({"params": params}, Inputs(tokens)), rows
    ).total
    # three rows a call, of the two answers of a record
    sides = planned.dataset.sources[""].splits
    calls = sum(-(-len(side.records.offsets) // 3) for side in sides)
    assert planned.reference_flops == calls * forward
    assert any("FLOPs before" in line for line in describe(task.experiment, planned, MACHINE))


def test_what_it_starts_from_is_named(base):
    with pytest.raises(UserError, match=r"'dpo' compares answers .* config\.train\.initial"):
        task_of(base, {"train.initial": None})
    with pytest.raises(UserError, match="'reward' asks something else of the model"):
        task_of(base, {"train.also_evaluate": ["reward"]})
