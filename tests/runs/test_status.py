"""How far a run is, by its directory alone."""

import fcntl
import json

from lm_lab.runs.checkpoint import Checkpoints
from lm_lab.runs.commits import LOCK
from lm_lab.runs.status import newest_training, run_status, warn_if_diverged


def test_a_run_is_running_while_its_lock_is_held(tmp_path):
    (tmp_path / "result.json").write_text('{"status": "failed"}')
    lock = tmp_path / "checkpoints" / LOCK
    lock.parent.mkdir()
    with lock.open("w") as file:
        assert run_status(tmp_path) == "failed"
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run_status(tmp_path) == "running"
    assert run_status(tmp_path) == "failed"


def test_the_lock_is_that_of_the_checkpoints(tmp_path):
    with Checkpoints(tmp_path / "checkpoints", keep=1, spec_hash="x"):
        assert run_status(tmp_path) == "running"
    assert run_status(tmp_path) == "missing"


def test_a_run_that_diverged_is_warned_of(tmp_path, caplog):
    warn_if_diverged(tmp_path)
    result = {"status": "diverged", "steps": 3, "final": {}, "message": "not finite at step 3"}
    (tmp_path / "result.json").write_text(json.dumps(result))
    warn_if_diverged(tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path} diverged, and what its model gives may mean nothing: not finite at step 3"
    ]


def test_the_newest_line_is_read_from_the_end(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    assert newest_training(tmp_path) is None
    early = '{"step": 1, "train/nll": 9.0, "tokens": 32, "flops": 2048}\n' * 1000  # more than read
    late = '{"step": 2, "train/nll": 2.5, "tokens": 64, "flops": 4096}\n{"step": 2, "eval": 4}\n'
    metrics.write_text(early + late + '{"step": 3, "train/nll"')
    assert newest_training(tmp_path) == {"train/nll": 2.5, "tokens": 64, "flops": 4096}
    metrics.write_text('{"step": 3, "train/nll": null}\n')
    assert newest_training(tmp_path) is None
