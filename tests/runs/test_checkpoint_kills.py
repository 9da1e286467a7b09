"""Checkpoints of processes that are killed, or refused by the system, while they save."""

import contextlib
import random
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.runs.checkpoint import Checkpoints
from tests import forked

SCRIPT = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from lm_lab.runs.checkpoint import Checkpoints
from lm_lab.types import UserError

def state(step):
    x = np.random.default_rng(step).standard_normal(50_000, np.float32)
    return {"x": x, "step": np.int32(step)}

def save_for_ever(directory):
    with Checkpoints(directory, 2, "spec") as checkpoints:
        for step in range(1, 100_000):
            checkpoints.save(step, state(step), {}, None)
            print(step - 1, flush=True)  # the save waited for the one before: that one is committed

def save_past_a_limit(directory):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with Checkpoints(directory, 2, "spec") as checkpoints:
            checkpoints.save(1, state(1), {}, None)
            checkpoints.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
            checkpoints.save(2, state(2), {}, None)
    except UserError as error:
        print(error)

if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
"""


@contextlib.contextmanager
def started(task: str, directory: Path):
    """The process and its output; killed on the way out."""
    with forked.fork("-c", SCRIPT, task, str(directory)) as process:
        try:
            yield process, process.stdout
        finally:
            process.send_signal(signal.SIGKILL)


def assert_holds_what_was_promised(directory: Path, promised: int) -> None:
    target = {
        "x": jax.ShapeDtypeStruct((50_000,), jnp.float32),
        "step": jax.ShapeDtypeStruct((), jnp.int32),
    }
    with Checkpoints(directory, 2, "spec") as checkpoints:
        found = checkpoints.latest(target)
    if found is None:
        assert promised == 0
        return
    step, state, _ = found
    assert promised <= step <= promised + 1
    assert int(state["step"]) == step
    assert np.array_equal(
        state["x"], np.random.default_rng(step).standard_normal(50_000, np.float32)
    )
    assert list(directory.glob("trash/*")) == []


@pytest.mark.processes
def test_kill_at_any_moment_leaves_the_last_commit_whole(tmp_path, caplog):
    delays = random.Random(0)
    for batch in range(3):
        directories = [tmp_path / f"{batch}{number}" for number in range(3)]
        with contextlib.ExitStack() as stack:
            children = [
                stack.enter_context(started("save_for_ever", directory))
                for directory in directories
            ]
            for (process, output), directory in zip(children, directories, strict=True):
                lines = [output.readline()]
                time.sleep(delays.uniform(0, 0.3))
                process.send_signal(signal.SIGKILL)
                lines += output.readlines()
                assert_holds_what_was_promised(
                    directory, int([line for line in lines if line.endswith("\n")][-1])
                )
    assert "damaged" not in caplog.text
    assert "not there" not in caplog.text


@pytest.mark.processes
def test_a_write_that_the_system_refuses_is_told(tmp_path):
    with started("save_past_a_limit", tmp_path) as (_, output):
        message = output.read()
    assert message.startswith(
        f"{tmp_path}/step_00000002: cannot save the checkpoint: File too large; "
    )
    assert message.count("\n") == 1
    assert_holds_what_was_promised(tmp_path, 1)
