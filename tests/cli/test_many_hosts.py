"""A run that several processes train, as on several hosts, is the run of one process with as many
devices; it survives the loss of one of them.
"""

import json
import socket
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from tests.cli.cli_helpers import lm_lab, records, start

pytestmark = pytest.mark.processes

WORDS = tuple(
    f"--config.train.{name}={count}"
    for name, count in {
        "steps": 30,
        "log_every_steps": 5,
        "checkpoint_every_steps": 5,
    }.items()
)
TWO = ("--config.mesh.data=2", "--config.train.eval_every_steps=10")
NO_BLOW = ("SIGKILL", "lm_lab.runs.commits.commit", 1000)
UPDATE = "lm_lab.engine.program.Compiled.__call__"

Ended = subprocess.CompletedProcess[str]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_quickly(monkeypatch)


def compile_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emitters that take a third of the time: only process 0 keeps what it has compiled."""
    if jax.__version_info__ < (0, 11):
        flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_opt_preset=FAST_COMPILE"
        monkeypatch.setenv("XLA_FLAGS", flags)


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


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
            out, error = process.communicate(timeout=600)
        ends.append(subprocess.CompletedProcess(words, process.returncode or 0, out, error))
    return ends


def arrays(run: Path) -> list[np.ndarray]:
    """The newest checkpoint's arrays, whatever devices they were saved from."""
    folder = str(run / "checkpoints" / (run / "checkpoints/LAST_GOOD").read_text().strip())
    shapes = ocp.metadata(folder).metadata
    target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)
    return jax.tree.leaves(ocp.load(folder, target))


def codes(ends: list[Ended]) -> list[int]:
    return [end.returncode for end in ends]


@pytest.fixture(scope="module")
def alone(home: Path) -> Path:
    """The run of one process with two devices."""
    run = home / "alone"
    with pytest.MonkeyPatch.context() as patch:
        compile_quickly(patch)
        ended = lm_lab("train", f"--config={home / 'tiny.py'}", *WORDS, *TWO, f"--workdir={run}")
    assert ended.returncode == 0, ended.stderr
    return run


def test_two_processes_stop_together_go_on_and_end_as_one(tmp_path: Path, config: str, alone: Path):
    words = (config, *WORDS, *TWO, f"--workdir={tmp_path}")
    ends = together(2, *words, blow=("SIGTERM", UPDATE, 3), on=1)
    assert codes(ends) == [75, 75], ends
    assert "lm-lab: SIGTERM at step " in ends[0].stderr  # the first says it, when all have saved
    assert "lm-lab" not in ends[1].stderr
    stopped = metrics(tmp_path)[-1]["step"]

    ends = together(2, *words, blow=("SIGKILL", UPDATE, 3), on=0)
    assert codes(ends) == [137, 75], ends
    assert "lm_lab/train/loop.py" in ends[1].stderr  # the stacks of its threads
    assert stopped < metrics(tmp_path)[-1]["step"] < 30

    ended = lm_lab("train", *words)  # on one host
    assert ended.returncode == 0, ended.stderr
    assert records(tmp_path) == records(alone)  # the losses of every step, and the result
    pairs = list(zip(arrays(tmp_path), arrays(alone), strict=True))
    assert len(pairs) > 20
    # to the bit: two devices are added in the one order that there is, whoever has them
    assert all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)


def test_four_processes_lose_one_and_have_learnt_as_one(tmp_path: Path, config: str, alone: Path):
    four = "--config.mesh.data=2", "--config.mesh.fsdp=2", "--config.train.eval_every_steps=30"
    blow = ("SIGKILL", UPDATE, 4)  # between steps 10 and 15
    ends = together(4, config, *WORDS, *four, f"--workdir={tmp_path}", blow=blow, on=2)
    assert codes(ends) == [75, 75, 137, 75], ends
    assert all("liveness.py" in end.stderr for end in ends if end.returncode == 75)
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == [5, 10]
    for line, one in zip(lines, metrics(alone)):
        for name in ("train/nll", "gradient_norm"):
            # four are added in another order: float32 rounding, over ten steps
            assert line[name] == pytest.approx(one[name], rel=1e-6), (name, line["step"])
