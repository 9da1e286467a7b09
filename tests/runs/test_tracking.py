"""W&B without a network: config, metrics by step, and one run however often it is resumed."""

import json
import struct

import pytest

from lm_lab.runs import tracking
from lm_lab.runs.history import lines_to_keep, read_lines
from lm_lab.runs.records import Metrics
from lm_lab.types import UserError
from tests.sweeps.fakes import wait_for

wandb = pytest.importorskip("wandb", reason="the extra `wandb`")
pytestmark = pytest.mark.processes  # W&B's own
from wandb.proto.wandb_internal_pb2 import (  # noqa: E402
    Record,  # pyright: ignore[reportAttributeAccessIssue]
)

BLOCK, HEAD = 32768, 7  # of LevelDB's log format, in which offline runs are stored


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv(tracking.PROJECT, "mine")


def stored(directory) -> list:
    """The records of the offline runs, oldest first."""
    found = []
    for path in sorted(directory.glob("wandb/offline-run-*/*.wandb")):
        data, place, whole = path.read_bytes(), HEAD, b""
        while place + HEAD <= len(data):
            if BLOCK - place % BLOCK < HEAD:
                place += BLOCK - place % BLOCK
            _, length, kind = struct.unpack_from("<IHB", data, place)
            if len(data) < place + HEAD + length:
                break
            whole += data[place + HEAD : place + HEAD + length]
            place += HEAD + length
            if kind in (1, 4):  # a whole record, or its last part
                found.append(Record.FromString(whole))
                whole = b""
    return found


def history(records, name):
    """(step, value) of a metric."""
    found = []
    for record in records:
        values = {
            item.key or ".".join(item.nested_key): item.value_json for item in record.history.item
        }
        if name in values:
            found.append((int(values["_step"]), json.loads(values[name])))
    return found


def test_a_run_that_is_resumed_is_one_run_there(tmp_path):
    with Metrics(tmp_path, (), {"model.width": 8}) as metrics:
        for step in (10, 20):
            metrics.write({"step": step, "train/nll": 1 / step})
    kept = lines_to_keep(tmp_path, read_lines(tmp_path), 20, {}, {})
    with Metrics(tmp_path, kept, {"model.width": 8}) as metrics:
        metrics.write({"step": 30, "train/nll": 1 / 30})
    # W&B's own process writes the end of the file when we have left.
    wait_for(lambda: sum(record.HasField("exit") for record in stored(tmp_path)) == 2)
    records = stored(tmp_path)
    assert history(records, "train/nll") == [(step, 1 / step) for step in (10, 20, 30)]
    runs = [record.run for record in records if record.HasField("run")]
    assert {(run.run_id, run.project) for run in runs} == {
        ((tmp_path / "wandb.id").read_text().strip(), "mine")
    }
    config = {item.key: item.value_json for item in runs[0].config.update}
    assert config["model.width"] == "8"


def test_what_fails_there_stops_no_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(wandb, "init", lambda **_: 1 / 0)
    with Metrics(tmp_path) as metrics:
        metrics.write({"step": 1, "train/nll": 1.0})
    assert len(read_lines(tmp_path)) == 1
    assert "no more of W&B (ZeroDivisionError: division by zero)" in caplog.text


def test_its_absence_is_told_before_the_work(monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "lm_lab\[wandb\]"'):
        tracking.check()
