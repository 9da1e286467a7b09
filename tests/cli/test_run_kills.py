"""A run that is killed at any moment, or told to stop, ends in the bits of one that was left alone."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.cli.users import assert_same_run, lm_lab, start, stored, struck

pytestmark = pytest.mark.processes

MOMENTS = [
    ("lm_lab.train.records.write_environment", 1),  # during the start, after config.json
    ("lm_lab.train.records.Metrics.write", 1),  # before the first line
    ("lm_lab.train.checkpoint.write_arrays", 1),  # before the first checkpoint
    ("lm_lab.train.checkpoint.seal", 2),  # in the second save, between its arrays and its manifest
    ("lm_lab.train.checkpoint.atomic_write", 2),  # a step in place, LAST_GOOD not yet at it
    ("lm_lab.train.checkpoint.discard", 1),  # right after a save, old steps not yet removed
    ("lm_lab.train.records.write_result", 1),  # all done but said
]


def test_killed_at_every_moment_of_a_save(tmp_path: Path, config: str, undisturbed: Path):
    for point, call in MOMENTS:
        ended = struck("SIGKILL", point, call, "train", config, f"--workdir={tmp_path}")
        assert ended.returncode == -signal.SIGKILL, (point, ended.stderr)
    assert not (tmp_path / "result.json").exists()
    assert lm_lab("train", config, f"--workdir={tmp_path}").returncode == 0
    assert_same_run(tmp_path, undisturbed)


def test_killed_at_random_moments(tmp_path: Path, config: str, undisturbed: Path):
    delays = random.Random(0)
    for _ in range(2):
        begun = time.time()
        with start("train", config, f"--workdir={tmp_path}") as process:
            metrics = tmp_path / "metrics.jsonl"
            while process.poll() is None and not (metrics.exists() and metrics.stat().st_mtime > begun):
                time.sleep(0.001)
            time.sleep(delays.uniform(0, 0.3))
            os.killpg(process.pid, signal.SIGKILL)
    assert lm_lab("train", config, f"--workdir={tmp_path}").returncode == 0
    assert_same_run(tmp_path, undisturbed)


def test_told_to_stop_saves_says_so_and_goes_on(tmp_path: Path, config: str, undisturbed: Path):
    for name, call, code in (("SIGTERM", 1, 143), ("SIGINT", 2, 130)):
        ended = struck(name, "lm_lab.train.member.Member.observe", call, "train", config, f"--workdir={tmp_path}")
        assert ended.returncode == code, ended.stderr
        assert ended.stderr.splitlines()[-1].startswith(f"lm-lab: {name} at step ")
        assert "Traceback" not in ended.stderr
    assert lm_lab("train", config, f"--workdir={tmp_path}").returncode == 0
    assert_same_run(tmp_path, undisturbed)


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, config: str, undisturbed: Path):
    struck("SIGKILL", "lm_lab.train.records.write_result", 1, "train", config, f"--workdir={tmp_path}")
    newest = tmp_path / "checkpoints/step_00000060"
    victim = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    ended = lm_lab("train", config, f"--workdir={tmp_path}")
    assert ended.returncode == 0
    assert "step_00000060 is damaged" in ended.stderr
    assert_same_run(tmp_path, undisturbed)


def test_launched_again_after_its_end_it_says_the_result_and_touches_nothing(config: str, undisturbed: Path):
    before = stored(undisturbed)
    ended = lm_lab("train", config, f"--workdir={undisturbed}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "complete at step 60" in ended.stdout
    assert stored(undisturbed) == before
