"""A run with a damaged file goes on: one line says so, the file is set aside, and everything usable
is kept.
"""

import json
import re
import shutil
from pathlib import Path

import pytest

from lm_lab.runs import records, sealed
from lm_lab.runs.commits import committed
from lm_lab.runs.reading import sha256_of
from lm_lab.train import identity, loop
from lm_lab.train.compiled import compile_program
from lm_lab.train.run import Run
from lm_lab.train.writer import RunWriter
from lm_lab.types import UserError
from tests import tiny
from tests.cli.cli_helpers import assert_same_run, final_arrays
from tests.cli.cli_helpers import records as records_of

MADE: list = []  # the compiled program of all runs here


class Killed(Exception):
    """The process would be gone."""


@pytest.fixture(autouse=True, scope="module")
def program(tmp_path_factory):
    """The compiled program, made once: compiling is most of a tiny run's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LM_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "token_stores"))
        patch.setattr(
            loop,
            "compile_program",
            lambda runs: MADE[0] if MADE else MADE.append(compile_program(runs)) or MADE[0],
        )
        yield
    MADE.clear()


def train(directory: Path) -> None:
    loop.train([Run(*tiny.resolve(), directory)])


@pytest.fixture(scope="module")
def complete(tmp_path_factory, program) -> Path:
    """A run that nobody disturbed: 8 steps, lines at 2, 4, 4, 6, 8, 8."""
    directory = tmp_path_factory.mktemp("runs") / "complete"
    train(directory)
    return directory


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, program) -> Path:
    """One that was killed after its save of step 6; it has that of step 4 too."""
    directory = tmp_path_factory.mktemp("runs") / "stopped"
    save = RunWriter.save

    def dying(self, step, state):
        save(self, step, state)
        if step == 6:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunWriter, "save", dying)
        with pytest.raises(Killed):
            train(directory)
    return directory


@pytest.fixture
def run(stopped, tmp_path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


# changed lines of steps 2, 4, 4, 6, and the warning: with the first three lines the run can resume
# from step 4
LINES = {
    "rubbish at the end": (
        lambda lines: [*lines[:3], b"rubbish\n"],
        "line 4; set aside .*from step 4 with 3",
    ),
    "another number": (
        lambda lines: [*lines[:3], lines[3].replace(b"0", b"1")],
        "is not the 4 lines .*step 4 with 3",
    ),
    "without the last": (
        lambda lines: lines[:3],
        "is not the 4 lines .*set aside .*from step 4 with 3",
    ),
    "without the first": (
        lambda lines: lines[1:],
        "is not the 4 lines .*set aside .*from step 6 with 3",
    ),
    "a step that is text": (
        lambda lines: [b'{"step": "2"}\n', *lines[1:]],
        "line 1; set aside .*from step 6 with 3",
    ),
    "empty": (lambda lines: [], "has lost its 4 lines; set aside .*from step 6 with 0"),
    "absent": (None, "has lost its 4 lines; going on from step 6 with 0"),
}


@pytest.mark.parametrize("damage", LINES)
def test_lines_that_are_not_those_of_the_checkpoint(run, complete, caplog, damage):
    change, words = LINES[damage]
    path = run / "metrics.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.unlink()
    if change:
        path.write_bytes(b"".join(change(whole)))
    found = path.read_bytes() if change else None
    train(run)
    [said] = [record.getMessage() for record in caplog.records]
    assert re.search(words, said)
    aside = run / "metrics.jsonl.damaged-1"
    assert (aside.read_bytes() if aside.exists() else None) == found
    assert records_of(run)[1] == records_of(complete)[1]
    assert [a.tobytes() for a in final_arrays(run)] == [a.tobytes() for a in final_arrays(complete)]
    lines, wanted = records_of(run)[0], records_of(complete)[0]
    assert lines == (wanted if "step 4" in words else [line for line in wanted if line in lines])
    assert wanted[4:] == lines[-2:]


def edit_manifest(folder: Path, change) -> None:
    """Of a step, with a SHA-256 that fits."""
    content = json.loads((folder / sealed.MANIFEST).read_text())
    change(content)
    del content["sha256"]
    (folder / sealed.MANIFEST).write_text(
        json.dumps({"sha256": sealed.fingerprint(content), **content})
    )


def test_commits_that_no_mark_was_kept_in_go_on(run, complete, caplog):
    for folder in committed(run / "checkpoints"):
        edit_manifest(folder, lambda content: content["extra"].pop("metrics"))
    train(run)
    assert not caplog.records
    assert_same_run(run, complete)


MANIFESTS = {
    "step": lambda content: content.update(step="6"),
    "files": lambda content: content.update(files=[1]),
    "score": lambda content: content.update(score="low"),
    "extra": lambda content: content.pop("extra"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_of_other_types_is_passed_over(run, complete, caplog, name):
    edit_manifest(run / "checkpoints/step_00000006", MANIFESTS[name])
    train(run)
    assert "step_00000006 is damaged" in caplog.text
    assert_same_run(run, complete)


def test_counters_of_other_types_are_one_line(run):
    edit_manifest(
        run / "checkpoints/step_00000006", lambda content: content["extra"].update(bytes="many")
    )
    before = sha256_of(run / "metrics.jsonl")
    with pytest.raises(UserError, match=r'step_00000006: .*bytes is "many".*; delete that folder'):
        train(run)
    assert sha256_of(run / "metrics.jsonl") == before


def test_a_checkpoint_under_the_name_of_another_step_is_passed_over(run, complete, caplog):
    checkpoints = run / "checkpoints"
    shutil.copytree(checkpoints / "step_00000006", checkpoints / "step_00000008")
    shutil.copytree(checkpoints / "step_00000006", checkpoints / "step_00000006 (copy)")
    train(run)
    assert "step_00000008 is damaged (it is of step 6" in caplog.text
    assert_same_run(run, complete)


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"status": "complete", "steps": "8", "final": {}}']
)
def test_a_damaged_result_is_set_aside(run, complete, caplog, content):
    (run / "result.json").write_text(content)
    train(run)
    assert "result.json: " in caplog.text
    assert (run / "result.json.damaged-1").read_text() == content
    assert_same_run(run, complete)


@pytest.mark.parametrize("kept", ["checkpoints", "result.json"])
def test_without_a_config_the_checkpoints_say_whose_the_run_is(complete, tmp_path, kept):
    run = Path(shutil.copytree(complete, tmp_path / "run"))
    (run / "config.json").unlink()
    if kept == "checkpoints":
        (run / "result.json").unlink()
    with pytest.raises(
        UserError,
        match=r"config\.json: it is missing, and no checkpoint proves .* this one; give the",
    ):
        loop.train([Run(*tiny.resolve({"seed": 1}), run)])
    assert not (run / "config.json").exists()
    train(run)
    assert (run / "config.json").read_bytes() == (complete / "config.json").read_bytes()


@pytest.mark.parametrize("content", ["", '{"seed": 0, "mod', "[1]"])
def test_a_damaged_config_is_written_anew_where_the_checkpoints_are_of_the_run(
    run, complete, caplog, content
):
    config = (run / "config.json").read_bytes()
    (run / "config.json").write_text(content)
    with pytest.raises(
        UserError, match=r"config\.json: .*, and no checkpoint proves that the run is this one"
    ):
        loop.train([Run(*tiny.resolve({"seed": 1}), run)])
    assert (run / "config.json").read_text() == content
    train(run)
    assert "set aside as config.json.damaged-1, and written anew" in caplog.text
    assert (run / "config.json").read_bytes() == config
    assert_same_run(run, complete)


def test_a_damaged_config_of_a_run_that_has_ended_is_written_anew(complete, tmp_path):
    run = Path(shutil.copytree(complete, tmp_path / "run"))
    (run / "config.json").write_text("")
    train(run)
    assert (run / "config.json").read_bytes() == (complete / "config.json").read_bytes()
    assert (run / "result.json").read_bytes() == (complete / "result.json").read_bytes()


def test_without_checkpoints_there_is_nothing_to_lose(complete, tmp_path):
    identity.write(tmp_path, tiny.resolve()[1], identity.claim(tmp_path, tiny.resolve()[1]))
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "metrics.jsonl").write_bytes(b"\x00\xff\n{}\n")
    train(tmp_path)
    assert_same_run(tmp_path, complete)
    assert records.read_result(tmp_path) is not None
