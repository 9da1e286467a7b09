"""A run that is asked for more steps, or whose text has moved, goes on if that gives the run it
would have been.
"""

import json
import math
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import lm_lab
from lm_lab.engine import sharding
from lm_lab.engine.sharding import unbox
from lm_lab.engine.state import saved
from lm_lab.runs import arrays, records
from lm_lab.train import identity, loop, program, trained_on
from lm_lab.train.run import Run
from lm_lab.train.sections import decides, differences, key_table
from lm_lab.types import UserError
from tests import tiny
from tests.cli.cli_helpers import final_arrays
from tests.cli.cli_helpers import records as records_of

CONSTANT = {"schedule.name": "constant"}


def run_in(directory: Path, **changes) -> Run:
    return Run(*tiny.resolve(changes), directory)


def trained(directory: Path, **changes) -> dict:
    (result,) = loop.train([run_in(directory, **changes)])
    return result


@pytest.fixture(scope="module")
def of_eight(tmp_path_factory) -> Path:
    """A complete run of 8 steps at a constant rate."""
    directory = tmp_path_factory.mktemp("runs") / "eight"
    assert trained(directory, **CONSTANT)["steps"] == 8
    return directory


@pytest.fixture
def eight(of_eight, tmp_path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(of_eight, tmp_path / "eight"))


def test_more_steps_of_a_constant_rate_are_the_longer_run_to_the_bit(eight, tmp_path):
    before = records.read_result(eight)
    assert trained(eight, **CONSTANT, **{"train.steps": 12})["steps"] == 12
    trained(tmp_path / "twelve", **CONSTANT, **{"train.steps": 12})
    assert [a.tobytes() for a in final_arrays(eight)] == [
        a.tobytes() for a in final_arrays(tmp_path / "twelve")
    ]
    assert records_of(eight) == records_of(tmp_path / "twelve")
    line = json.loads((eight / "changes.jsonl").read_text())
    assert (line["step"], line["changes"]) == (8, {"train.steps": [8, 12]})
    assert line["result"] == before
    assert trained(eight, **CONSTANT, **{"train.steps": 12})["steps"] == 12  # and is left alone


@pytest.mark.parametrize("moment", ["result", "config"])
def test_a_kill_while_the_end_moves_loses_nothing(eight, monkeypatch, moment):
    class Killed(Exception):
        pass

    def kill(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "result":
            patch.setattr(Path, "unlink", kill)
        else:
            patch.setattr(identity, "write_config", kill)
        with pytest.raises(Killed):
            trained(eight, **CONSTANT, **{"train.steps": 12})
    assert trained(eight, **CONSTANT, **{"train.steps": 12})["steps"] == 12


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"train.steps": 4},
            r"eight has made 8 steps, and config.train asks for 4; .*config.train.initial=\S*eight",
        ),
        (
            {"train.steps": 12, "schedule.name": "cosine"},
            "holds another run: config.schedule.name is",
        ),
    ],
)
def test_what_would_be_another_run_is_refused_and_nothing_changes(eight, changes, message):
    before = (eight / "config.json").read_text(), (eight / "result.json").read_text()
    with pytest.raises(UserError, match=message):
        trained(eight, **CONSTANT | changes)
    assert before == ((eight / "config.json").read_text(), (eight / "result.json").read_text())


def test_a_schedule_that_knew_its_end_is_not_drawn_out(tmp_path):
    trained(tmp_path)
    with pytest.raises(
        UserError, match=r"a cosine schedule of 12 would have had other rates; .*train.initial="
    ):
        trained(tmp_path, **{"train.steps": 12})


FOLDERS = ("here", "there", "other")


def test_text_may_lie_elsewhere_and_must_be_the_same(tmp_path):
    for folder, text in zip(FOLDERS, ("so it goes\n", "so it goes\n", "and so on\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(text * 200)

    def reading(place):
        source = {"name": "text", "path": str(tmp_path / place / "a.txt")}
        return {"source": source, "length": tiny.LENGTH, "split": "tail"}

    wanted = trained(tmp_path / "run", data=reading("here"))
    (tmp_path / "here" / "a.txt").unlink()
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"give an existing one by --config.data.source.path=PATH"):
        lm_lab.open_run(run).evaluate({}, whole=True)
    place = {name: {"data.source.path": str(tmp_path / name / "a.txt")} for name in FOLDERS}
    whole = lm_lab.open_run(run, moved=place["there"]).evaluate({}, whole=True)
    with pytest.raises(UserError, match=r"run: config.data gives other text than it was trained"):
        lm_lab.open_run(run, moved=place["other"]).evaluate({}, whole=True)
    with pytest.raises(UserError, match=r"config.seed is that of the run; only where its text"):
        lm_lab.open_run(run, moved={"seed": 1})
    assert trained(tmp_path / "run", data=reading("there")) == wanted
    assert lm_lab.open_run(run).evaluate({}, whole=True) == whole  # the run knows its new place
    with pytest.raises(
        UserError, match=r"run was trained on other text than config.data gives; choose another"
    ):
        trained(tmp_path / "run", data=reading("other"))
    assert math.isfinite(wanted["final"]["eval/heldout/nll"])


MESHES = ({"fsdp": 2, "tensor": 2}, {"data": 4}, {"pipeline": 2, "fsdp": 2}, {"fsdp": 8}, {})


def test_a_state_is_restored_to_any_mesh_in_every_bit_and_the_mesh_is_no_part_of_a_run(tmp_path):
    changes = {"train.average_decay": 0.9, "train.nonfinite": "roll_back"}
    experiment, values = tiny.resolve(changes)
    made, random = program.assemble(tiny.bound(experiment)), np.random.default_rng(0)
    form = saved(made.state, made.slots)

    def on(mesh):
        placed = sharding.state_shardings(sharding.make_mesh(sharding.Config(**mesh)), made.state)
        return saved(placed, made.slots)

    def draw(leaf):
        return np.frombuffer(random.bytes(leaf.dtype.itemsize * leaf.size), leaf.dtype)

    bits = jax.tree.map(lambda leaf: draw(leaf).reshape(leaf.shape), unbox(form))
    for number, (one, other) in enumerate(pairwise(MESHES)):
        folder = tmp_path / str(number)
        arrays.write_arrays(folder, jax.device_put(bits, on(one)))
        target = sharding.abstract(unbox(form), on(other))
        restored = arrays.read_arrays(folder, arrays.describe(bits), target)
        assert tiny.same_bits(restored, bits)
        assert jax.tree.map(lambda leaf: leaf.sharding, restored) == on(other)
    for mesh in MESHES:
        moved = values | {"mesh": values["mesh"] | mesh}
        changed = differences(values, moved, key_table(values))
        assert not any(decides(change.key, key_table(values)) for change in changed)


def test_a_branch_of_a_hub_that_has_moved_is_named_by_the_commit_of_the_run(tmp_path):
    key = "config.data.source.revision"
    source = {"name": "hugging_face", "dataset": "org/lines"}
    assert key.removeprefix("config.") in key_table({"data": {"source": source}}).files
    records.write_environment(tmp_path, {key: "a" * 40})
    text = SimpleNamespace(
        dataset=SimpleNamespace(identity="new"),
        revisions={key: "b" * 40},
        places=["config.data.source.dataset", key],
    )
    trained_on.check_text(tmp_path, text, {"text": "new"})
    with pytest.raises(UserError, match=rf"give it that text, by --{key}={'a' * 40}, and the"):
        trained_on.check_text(tmp_path, text, {"text": "old"})
    text.revisions = {}
    with pytest.raises(UserError, match=rf"by --config.data.source.dataset=... --{key}=..., and"):
        trained_on.check_text(tmp_path, text, {"text": "old"})
