"""A run that is killed at any moment, or told to stop, ends in the bits of
one that was left alone.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.cli import faults
from tests.cli.cli_helpers import assert_same_run, killed_at, lm_lab, start, stored
from tests.sweeps.fakes import wait_for

pytestmark = pytest.mark.processes

MOMENTS = [
    ("lm_lab.runs.records.write_environment", 1),  # during the start, after config.json
    ("lm_lab.runs.records.Metrics.write", 1),  # before the first line
    ("lm_lab.runs.commits.write_arrays", 1),  # before the first checkpoint
    (
        "lm_lab.runs.commits.write_manifest",
        2,
    ),  # in the second save, between its arrays and its manifest
    ("lm_lab.runs.commits.point_to", 2),  # a step in place, LAST_GOOD not yet at it
    ("lm_lab.runs.commits.discard", 1),  # right after a save, old steps not yet removed
    ("lm_lab.runs.records.write_result", 1),  # all done but said
]


def flip_a_bit(checkpoint: Path) -> None:
    largest = max(
        (path for path in checkpoint.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def test_killed_at_every_moment_and_then_damaged(tmp_path: Path, config: str, undisturbed: Path):
    for point, call in MOMENTS:
        ended = killed_at("SIGKILL", point, call, "train", config, f"--workdir={tmp_path}")
        assert ended.returncode == -signal.SIGKILL, (point, ended.stderr)
    assert not (tmp_path / "result.json").exists()
    flip_a_bit(tmp_path / "checkpoints/step_00000060")
    ended = lm_lab("train", config, f"--workdir={tmp_path}")
    assert ended.returncode == 0
    assert "step_00000060 is damaged" in ended.stderr
    assert_same_run(tmp_path, undisturbed)


def test_killed_at_a_random_moment(tmp_path: Path, config: str, undisturbed: Path):
    with start("train", config, f"--workdir={tmp_path}") as process:
        wait_for((tmp_path / "metrics.jsonl").exists, seconds=60)
        time.sleep(random.uniform(0, 0.5))  # another one each time: any of them must do
        os.killpg(process.pid, signal.SIGKILL)
    assert lm_lab("train", config, f"--workdir={tmp_path}").returncode == 0
    assert_same_run(tmp_path, undisturbed)


def test_told_to_stop_saves_says_so_and_goes_on(tmp_path: Path, config: str, undisturbed: Path):
    told = {"SIGTERM": (1, 75), "SIGUSR1": (1, 75), "SIGINT": (2, 130), "SIGHUP": (1, 129)}
    for name, (call, code) in told.items():
        ended = killed_at(
            name,
            "lm_lab.train.writer.RunWriter.log",
            call,
            "train",
            config,
            f"--workdir={tmp_path}",
        )
        assert ended.returncode == code, ended.stderr
        assert ended.stderr.splitlines()[-1].startswith(f"lm-lab: {name} at step ")
        assert "Traceback" not in ended.stderr
    assert lm_lab("train", config, f"--workdir={tmp_path}").returncode == 0
    assert_same_run(tmp_path, undisturbed)


def test_a_hang_is_told_and_ended_and_goes_on_to_the_same_bits(
    tmp_path: Path, config: str, undisturbed: Path
):
    words = ("train", config, f"--workdir={tmp_path}")
    ended = killed_at("HANG", "lm_lab.engine.program.Compiled.__call__", 4, *words)
    assert ended.returncode == 75
    told = [line for line in ended.stderr.splitlines() if line.startswith("lm-lab: ")]
    assert told[0].startswith("lm-lab: stalled: waiting for the step for 1 s, usually ")
    assert told[-1] == "lm-lab: stalled: ended; the same command goes on from what is stored"
    assert "killed_process.py" in ended.stderr  # the stack says where

    hung = "HANG", "lm_lab.runs.commits.write_arrays", 2
    with start(*hung, *words, module="tests.cli.killed_process") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hanging\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 75
        assert "SIGTERM while the save hangs: ended, not saved" in process.communicate()[1]
    assert lm_lab(*words).returncode == 0
    assert_same_run(tmp_path, undisturbed)


@pytest.mark.parametrize(
    "point", ["lm_lab.config.resolve", "lm_lab.engine.program.Compiled.compile"]
)
def test_told_to_stop_in_start_up_it_ends_with_a_word(tmp_path: Path, config: str, point: str):
    with start(
        "HANG",
        point,
        1,
        "train",
        config,
        f"--workdir={tmp_path}",
        module="tests.cli.killed_process",
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hanging\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 75
        last = process.communicate()[1].splitlines()[-1]
    assert last == "lm-lab: SIGTERM: stopped; the same command goes on from what is stored"


def test_faults_of_every_kind_end_in_the_bits_of_a_run_without_them(
    tmp_path: Path, config: str, undisturbed: Path
):
    """A short `tools/torture_run.py`."""
    words, draw = ("train", config, f"--workdir={tmp_path}"), random.Random(0)
    for name in ("stuck loader", "full disk", "flipped bit", "SIGUSR1", "kill -9"):
        faults.strike(name, words, tmp_path, draw)
    assert lm_lab(*words).returncode == 0
    assert_same_run(tmp_path, undisturbed)


def test_launched_again_after_its_end_it_says_the_result_and_touches_nothing(
    config: str, undisturbed: Path
):
    before = stored(undisturbed)
    ended = lm_lab("train", config, f"--workdir={undisturbed}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "complete at step 60" in ended.stdout
    assert stored(undisturbed) == before
