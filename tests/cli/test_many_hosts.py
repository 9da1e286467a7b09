"""A run that several processes train, as on several hosts, is the run of one process with as many
devices; it survives the loss of one of them.
"""

import socket
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from tests.cli.cli_helpers import lm_lab, records, start

pytestmark = pytest.mark.processes

STEPS = ("--config.train.steps=20", "--config.train.eval_every_steps=10")
NO_BLOW = ("SIGKILL", "lm_lab.runs.commits.commit", 1000)
UPDATE = "lm_lab.engine.program.Compiled.__call__"

Ended = subprocess.CompletedProcess[str]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emitters that take a third of the time: only process 0 keeps what it has compiled."""
    if jax.__version_info__ < (0, 11):
        flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_opt_preset=FAST_COMPILE"
        monkeypatch.setenv("XLA_FLAGS", flags)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def together(count: int, *words: str, blow=NO_BLOW, on: int = 0) -> list[Ended]:
    """Every process of a launch, ended; the one of number `on` is sent a signal at a moment."""
    flags = f"--coordinator=localhost:{free_port()}", f"--processes={count}"
    processes = [
        start(
            *(blow if number == on else NO_BLOW),
            *("train", *words, *flags, f"--process={number}"),
            module="tests.cli.killed_process",
        )
        for number in range(count)
    ]
    ends = []
    for process in processes:
        with process:
            out, error = process.communicate(timeout=120)
        ends.append(subprocess.CompletedProcess(words, process.returncode or 0, out, error))
    return ends


def arrays(run: Path) -> list[np.ndarray]:
    """The newest checkpoint's arrays, whatever devices they were saved from."""
    folder = str(run / "checkpoints" / (run / "checkpoints/LAST_GOOD").read_text().strip())
    shapes = ocp.metadata(folder).metadata
    target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)
    return jax.tree.leaves(ocp.load(folder, target))


def assert_same(one: Path, other: Path) -> None:
    """The same losses at every step, the same result and the same state, in every bit: XLA adds
    over devices in the same order, whichever processes have them.
    """
    assert records(one) == records(other)
    pairs = list(zip(arrays(one), arrays(other), strict=True))
    assert len(pairs) > 20
    assert all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)


def codes(ends: list[Ended]) -> list[int]:
    return [end.returncode for end in ends]


def test_two_processes_told_to_stop_stop_together_and_end_as_one(tmp_path: Path, config: str):
    words = (config, *STEPS, "--config.mesh.data=2")
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    assert lm_lab("train", *words, f"--workdir={alone}").returncode == 0

    ends = together(2, *words, f"--workdir={shared}", blow=("SIGTERM", UPDATE, 3), on=1)
    assert codes(ends) == [75, 75], ends
    assert "SIGTERM at step" in ends[0].stderr  # the first says it, and saves
    assert (shared / "checkpoints/LAST_GOOD").exists()
    assert not (shared / "result.json").exists()
    ends = together(2, *words, f"--workdir={shared}")
    assert codes(ends) == [0, 0], ends
    assert "complete at step 20" in ends[0].stdout
    assert not ends[1].stdout.replace("[Gloo]", "").strip().startswith("lm-lab")
    assert_same(shared, alone)


def test_one_is_killed_and_the_other_ends_with_its_stacks_and_goes_on(tmp_path: Path, config: str):
    words = (config, *STEPS, "--config.mesh.fsdp=2")
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    assert lm_lab("train", *words, f"--workdir={alone}").returncode == 0

    for killed, survivor in ((1, 0), (0, 1)):
        ends = together(2, *words, f"--workdir={shared}", blow=("SIGKILL", UPDATE, 4), on=killed)
        assert codes(ends)[killed] == 137
        assert codes(ends)[survivor] == 75, ends[survivor].stderr
        assert "lm_lab/train/loop.py" in ends[survivor].stderr  # the stacks of its threads
    ended = lm_lab("train", *words, f"--workdir={shared}")  # on another number of hosts
    assert ended.returncode == 0, ended.stderr
    assert_same(shared, alone)


def test_four_processes_on_two_axes_are_one(tmp_path: Path, config: str):
    words = (config, "--config.train.steps=5", "--config.mesh.data=2", "--config.mesh.fsdp=2")
    assert lm_lab("train", *words, f"--workdir={tmp_path / 'alone'}").returncode == 0
    ends = together(4, *words, f"--workdir={tmp_path / 'shared'}")
    assert codes(ends) == [0] * 4, ends
    assert_same(tmp_path / "shared", tmp_path / "alone")
