"""A run reads from its checkpoints the bits that were saved, or those of the step before."""

import errno
import json
import logging
import math
import os
import random
import shutil
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from lm_lab.runs import commits
from lm_lab.runs.checkpoint import Checkpoints
from lm_lab.runs.commits import committed
from lm_lab.types import UserError
from tests.runs.states import (
    abstract,
    assert_same_bits,
    latest,
    load,
    make_state,
    save_steps,
    steps_of,
)


def assert_falls_back(directory: Path, caplog) -> None:
    caplog.clear()
    step, state, extra = load(directory)
    assert (step, extra) == (10, {"seconds": 10 / 3})
    assert_same_bits(state, make_state(10))
    [warning] = [record for record in caplog.records if record.name.startswith("lm_lab.runs.")]
    assert warning.levelno == logging.WARNING
    assert "step_00000020" in warning.getMessage()
    assert "\n" not in warning.getMessage()


def test_nothing_saved_is_none(tmp_path):
    with Checkpoints(tmp_path / "new" / "checkpoints", 2, "spec") as checkpoints:
        assert checkpoints.latest(abstract(make_state(0))) is None


def test_an_error_before_the_first_save_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), Checkpoints(tmp_path / "new", 2, "spec"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_the_latest_has_the_bits_that_were_saved(directory):
    step, state, extra = load(directory)
    assert (step, extra) == (20, {"seconds": 20 / 3})
    assert_same_bits(state, make_state(20))
    assert (directory / "LAST_GOOD").read_text() == "step_00000020\n"


def test_a_flipped_bit_in_any_file_falls_back(two_steps, tmp_path, caplog):
    newest = committed(two_steps)[0]
    names = [
        path.relative_to(newest)
        for path in newest.rglob("*")
        if path.is_file() and path.stat().st_size
    ]
    assert len(names) > 5
    for number, name in enumerate(names):
        copy = shutil.copytree(two_steps, tmp_path / str(number))
        data = bytearray((copy / newest.name / name).read_bytes())
        position = random.Random(number).randrange(len(data) * 8)
        data[position // 8] ^= 1 << position % 8
        (copy / newest.name / name).write_bytes(data)
        assert_falls_back(copy, caplog)


def test_a_missing_file_falls_back_and_the_step_can_be_saved_again(directory, caplog):
    next(path for path in committed(directory)[0].rglob("d/*")).unlink()
    assert_falls_back(directory, caplog)
    assert steps_of(directory) == [10]
    save_steps(directory, [20])
    assert load(directory)[0] == 20


def test_a_step_without_a_manifest_does_not_count(directory, caplog):
    (directory / "step_00000020" / "manifest.json").unlink()
    assert_falls_back(directory, caplog)
    save_steps(directory, [20])
    assert_same_bits(load(directory)[1], make_state(20))


def test_a_damaged_pointer_costs_nothing(directory):
    (directory / "LAST_GOOD").write_bytes(b"\xff\xfe")
    assert load(directory)[0] == 20


def test_when_every_checkpoint_is_damaged_the_user_decides(directory):
    for folder in committed(directory):
        (folder / "manifest.json").write_text("{}")
    before = sorted(directory.glob("step*/**/*"))
    with pytest.raises(UserError, match="every checkpoint is damaged; delete the folder"):
        load(directory)
    assert sorted(directory.glob("step*/**/*")) == before


def test_another_spec_is_refused(directory):
    with pytest.raises(UserError, match=r"another config \(hash spec, this run has other\)"):
        load(directory, spec_hash="other")


def test_save_returns_before_the_write_and_owns_its_copy(tmp_path, monkeypatch):
    gate, started, commit = threading.Event(), threading.Event(), commits.commit

    def gated(*arguments):
        started.set()
        assert gate.wait(60)
        commit(*arguments)

    monkeypatch.setattr(commits, "commit", gated)
    expected, extra = make_state(5), {"history": [1]}
    state = jax.tree.map(lambda x: jnp.array(x, copy=True), expected)
    with Checkpoints(tmp_path, 2, "spec") as checkpoints:
        checkpoints.save(5, state, extra, None)
        assert started.wait(60)
        assert steps_of(tmp_path) == []
        jax.tree.map(lambda x: x.delete(), state)  # what donation does to the buffers
        extra["history"].append(2)
        gate.set()
        checkpoints.wait()
        assert steps_of(tmp_path) == [5]
        _, restored, stored = latest(checkpoints)
    assert_same_bits(restored, expected)
    assert stored == {"history": [1]}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs the names of open files")
def test_all_is_on_the_disk_before_a_step_takes_its_name(tmp_path, monkeypatch):
    synced, taken, fsync, replace = set(), [], os.fsync, Path.replace

    def note_fsync(descriptor):
        fsync(descriptor)
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())

    def note_replace(source, target):
        if target.parent == tmp_path:
            assert {source, *source.rglob("*")} <= synced
            taken.append(target)
            synced.clear()
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    save_steps(tmp_path, [1])
    assert taken == [tmp_path / "step_00000001", tmp_path / "LAST_GOOD"]
    assert tmp_path in synced


def test_leaving_waits_for_the_commit(tmp_path):
    save_steps(tmp_path, [7])
    assert steps_of(tmp_path) == [7]
    assert list(tmp_path.glob("trash/*")) == []


def test_the_newest_and_the_best_are_kept(tmp_path):
    with Checkpoints(tmp_path, 2, "spec") as checkpoints:
        for step, score in enumerate([3.0, 1.0, 2.0, math.nan, None, 4.0], start=1):
            checkpoints.save(step, {"x": jnp.full(3, step)}, {}, score)
        checkpoints.wait()
        assert steps_of(tmp_path) == [6, 5, 2]
        checkpoints.save(7, {"x": jnp.full(3, 7)}, {}, 0.5)
        checkpoints.wait()
        assert steps_of(tmp_path) == [7, 6]


def test_without_scores_only_the_newest_are_kept(tmp_path):
    save_steps(tmp_path, [1, 2, 3], keep=1)
    assert steps_of(tmp_path) == [3]


def test_steps_that_are_named_are_always_kept(tmp_path):
    with Checkpoints(tmp_path, 1, "spec", always=(2, 9)) as checkpoints:
        for step in (1, 2, 3, 4):
            checkpoints.save(step, {"x": jnp.full(3, step)}, {}, None)
        checkpoints.wait()
    assert steps_of(tmp_path) == [4, 2]


def test_steps_are_ordered_as_numbers(tmp_path):
    save_steps(tmp_path, [99_999_999, 100_000_000])
    assert load(tmp_path)[0] == 100_000_000


def test_a_committed_step_is_not_written_again(directory):
    before = (directory / "step_00000020" / "manifest.json").stat().st_mtime_ns
    save_steps(directory, [20])
    assert (directory / "step_00000020" / "manifest.json").stat().st_mtime_ns == before


def test_two_writers_are_refused(tmp_path):
    with (
        Checkpoints(tmp_path, 2, "spec"),
        pytest.raises(UserError, match=f"is in use by pid {os.getpid()} on"),
    ):
        Checkpoints(tmp_path, 2, "spec").__enter__()


@pytest.mark.parametrize("stage", ["write_arrays", "write_manifest", "new_folder"])
def test_a_failed_save_is_told_and_loses_nothing(directory, monkeypatch, stage):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Checkpoints(directory, 2, "spec") as checkpoints:
        with monkeypatch.context() as patch:
            patch.setattr(commits, stage, fail)
            checkpoints.save(30, make_state(30), {}, None)
            with pytest.raises(
                UserError,
                match=r"step_00000030: cannot save .*: No space left on device; free some",
            ):
                checkpoints.save(40, make_state(40), {}, None)
        assert list(directory.glob("trash/*")) == []
        assert {10, 20} <= set(steps_of(directory))
        checkpoints.save(50, make_state(50), {}, None)
        step, state, _ = latest(checkpoints)
    assert step == 50
    assert_same_bits(state, make_state(50))


def test_a_folder_that_became_unwritable_is_told(directory):
    def save(step: int) -> None:
        with Checkpoints(directory, 2, "spec") as checkpoints:
            directory.chmod(0o500)
            if os.access(directory, os.W_OK):
                pytest.skip("this user may write anywhere")
            checkpoints.save(step, make_state(step), {}, None)

    with pytest.raises(
        UserError,
        match=r"step_00000030: cannot save the checkpoint: Permission denied; .*--workdir",
    ):
        save(30)
    directory.chmod(0o700)
    assert load(directory)[0] == 20


def test_an_error_on_its_way_out_is_not_hidden(tmp_path, monkeypatch, caplog):
    def fail(*_, **__):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(commits, "write_arrays", fail)

    def diverge():
        with Checkpoints(tmp_path, 2, "spec") as checkpoints:
            checkpoints.save(1, make_state(1), {}, None)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        diverge()
    assert "cannot save the checkpoint: Permission denied" in caplog.text


def test_extra_must_be_json(tmp_path):
    with Checkpoints(tmp_path, 2, "spec") as checkpoints, pytest.raises(TypeError):
        checkpoints.save(1, make_state(1), {"loss": jnp.float32(1)}, None)


def test_the_manifest_is_plain_json(two_steps):
    content = json.loads((two_steps / "step_00000020" / "manifest.json").read_text())
    assert content["step"] == 20
    assert content["spec_hash"] == "spec"
    assert content["arrays"]["params.half"] == "bfloat16[16,8]"
    assert content["arrays"]["opt_state.0.count"] == "int32[]"
