import errno
import json
import math
import os
import re
import shutil
import struct
import subprocess
import threading

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.plugin_hparams_pb2 import (
    HParamsPluginData,  # pyright: ignore[reportAttributeAccessIssue]
)

from lm_lab.runs import copies, records
from lm_lab.runs.events import Events
from lm_lab.runs.history import lines_to_keep, read_lines
from lm_lab.runs.reading import Unreadable
from lm_lab.runs.records import (
    Metrics,
    environment,
    read_metrics,
    read_result,
    write_environment,
    write_result,
)
from tests.sweeps.fakes import wait_for


def reject(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def strict(text: str):
    return json.loads(text, parse_constant=reject)


def write_steps(directory, resume_step, steps):
    with Metrics(
        directory, lines_to_keep(directory, read_lines(directory), resume_step, {}, {})
    ) as metrics:
        for step in steps:
            metrics.write({"step": step, "tokens": step * 100, "train/nll": 1 / step})


def events(directory) -> list:
    """The events of all TensorBoard files: each is length, checksum, record, checksum."""
    found = []
    for path in sorted((directory / "tensorboard").iterdir()):
        data, start = path.read_bytes(), 0
        while start < len(data):
            [length] = struct.unpack_from("<Q", data, start)
            found.append(Event.FromString(data[start + 12 : start + 12 + length]))
            start += 16 + length
    return found


def curve(directory, name: str) -> list[tuple[int, float]]:
    return [
        (event.step, v.simple_value)
        for event in events(directory)
        for v in event.summary.value
        if v.tag == name
    ]


def test_the_settings_of_a_run_are_tensorboards_hyper_parameters_at_every_start(tmp_path):
    settings = {
        "model.depth": 2,
        "optimizer.peak_rate": 0.1,
        "data.source.name": "text",
        "data.isolate_documents": True,
        "train.also_evaluate": ["causal"],
        "train.initial": None,
    }
    for kept in ((), [b'{"step": 3, "eval/heldout/nll": 1.5}\n']):
        with Metrics(tmp_path, kept, settings):
            pass
        values = [value for event in events(tmp_path) for value in event.summary.value]
        [session] = [value for value in values if value.tag == "_hparams_/session_start_info"]
        plugin = session.metadata.plugin_data
        assert plugin.plugin_name == "hparams"
        found = HParamsPluginData.FromString(plugin.content).session_start_info.hparams
        assert {key: value.WhichOneof("kind") for key, value in found.items()} == {
            "model.depth": "number_value",
            "optimizer.peak_rate": "number_value",
            "data.source.name": "string_value",
            "data.isolate_documents": "bool_value",
            "train.also_evaluate": "string_value",
        }
        assert found["optimizer.peak_rate"].number_value == 0.1
        assert found["train.also_evaluate"].string_value == '["causal"]'


def test_metrics_are_json_lines_of_plain_numbers(tmp_path):
    with Metrics(tmp_path) as metrics:
        metrics.write(
            {"step": jnp.int32(1), "train/nll": jnp.float32(0.1), "tokens": np.int64(2**40)}
        )
        metrics.write(
            {"step": 2, "train/nll": math.nan, "bound": -math.inf, "half": jnp.bfloat16(0.5)}
        )
        metrics.sync()
    first, second = map(strict, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert first == {"step": 1, "train/nll": float(np.float32(0.1)), "tokens": 2**40}
    assert second == {"step": 2, "train/nll": None, "bound": None, "half": 0.5}
    assert math.isnan(read_metrics(tmp_path)[1]["train/nll"])
    assert curve(tmp_path, "train/nll") == [(1, float(np.float32(0.1)))]
    assert curve(tmp_path, "half") == [(2, 0.5)]


def test_each_line_is_with_the_system_when_write_returns(tmp_path):
    with Metrics(tmp_path) as metrics:
        metrics.write({"step": 1, "loss": 2.0})
        assert read_metrics(tmp_path) == [{"step": 1, "loss": 2.0}]
        wait_for(
            lambda: (tmp_path / "tensorboard").exists() and curve(tmp_path, "loss") == [(1, 2.0)]
        )


def test_a_resumed_run_leaves_the_records_of_an_undisturbed_one(tmp_path):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    straight.mkdir()
    resumed.mkdir()
    write_steps(straight, 0, range(1, 10))
    write_steps(resumed, 0, range(1, 8))
    with (resumed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "tok')  # killed within a write
    assert [record["step"] for record in read_metrics(resumed)] == list(range(1, 8))
    write_steps(resumed, 4, range(5, 7))
    write_steps(resumed, 6, range(7, 10))
    assert (resumed / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
    assert curve(resumed, "train/nll") == curve(straight, "train/nll")
    assert [step for step, _ in curve(resumed, "tokens")] == list(range(1, 10))


def test_a_fresh_start_drops_every_line(tmp_path):
    with Metrics(tmp_path) as metrics:
        metrics.write({"step": 0, "eval/heldout/nll": 5.5})
    write_steps(tmp_path, 0, [1])
    assert [record["step"] for record in read_metrics(tmp_path)] == [1]


def test_several_lines_of_one_step_are_kept(tmp_path):
    with Metrics(tmp_path) as metrics:
        metrics.write({"step": 3, "train/nll": 1.0})
        metrics.write({"step": 3, "eval/heldout/nll": 2.0})
    with Metrics(tmp_path, lines_to_keep(tmp_path, read_lines(tmp_path), 3, {}, {})):
        assert len(read_metrics(tmp_path)) == 2


@pytest.mark.parametrize(
    "line", ["rubbish", "[1]", "{}", '{"step": true}', '{"step": 1, "a": "b"}', "[" * 9999, "\0"]
)
def test_a_line_that_is_no_record_is_left_out_with_a_word(tmp_path, caplog, line):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n')
    assert read_metrics(tmp_path) == [{"step": 1}, {"step": 2}]
    assert "metrics.jsonl, line 2: not a record" in caplog.text


def test_no_metrics_is_an_empty_list(tmp_path):
    assert read_metrics(tmp_path) == []


def test_an_event_file_says_when_it_starts_over(tmp_path):
    write_steps(tmp_path, 0, [1])
    version, start, *_ = events(tmp_path)
    assert version.file_version == "brain.Event:2"
    assert start.session_log.status == 1  # START: viewers forget the steps from here on


def test_the_result_is_read_as_written(tmp_path):
    assert read_result(tmp_path) is None
    write_result(
        tmp_path, {"status": "diverged", "steps": np.int32(7), "final": {"train/nll": math.inf}}
    )
    assert read_result(tmp_path) == {"status": "diverged", "steps": 7, "final": {"train/nll": None}}
    strict((tmp_path / "result.json").read_text())


@pytest.mark.parametrize(
    "content, why",
    [
        ("", "no JSON"),
        ("[1]", "a JSON object is expected"),
        ("{}", "status is absent"),
        ('{"status": 3}', "status is 3"),
        ('{"status": "done"}', 'status is "done"'),
        ('{"status": "complete", "steps": 3}', "final is absent"),
        ('{"status": "complete", "steps": "3", "final": {}}', 'steps is "3"'),
        (
            '{"status": "complete", "steps": 3, "final": {"eval/heldout/nll": "low"}}',
            'eval/heldout/nll is "low"',
        ),
        ('{"status": "complete", "steps": 3, "final": {}, "tokens": [1]}', r"tokens is \[1\]"),
        ('{"status": "failed", "message": {}}', "message is {}"),
    ],
)
def test_a_result_that_we_did_not_write_is_named(tmp_path, content, why):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(
        Unreadable, match=rf"result\.json: .*{why}.*; train the run again by its command"
    ):
        read_result(tmp_path)


def test_a_folder_in_the_place_of_a_result_can_be_set_aside(tmp_path):
    (tmp_path / "result.json").mkdir()
    with pytest.raises(
        Unreadable, match=r"result\.json: a folder stands in its place; train the run again"
    ):
        read_result(tmp_path)


def test_the_environment_names_versions_devices_and_command(tmp_path, monkeypatch):
    monkeypatch.setattr(records.sys, "argv", ["/some/where/lm-lab", "train", "--config=a b.py"])
    found = environment()
    assert found["command"] == "lm-lab train '--config=a b.py'"
    assert found["jax"].count(".") >= 2
    assert found["devices"]["count"] >= 1
    assert found["cores"] >= 1
    write_environment(tmp_path)
    assert (
        strict((tmp_path / "environment.json").read_text())["orbax_checkpoint"]
        == found["orbax_checkpoint"]
    )
    monkeypatch.setattr(records.sys, "argv", ["/some/where/lm_lab/__main__.py", "plan"])
    assert environment()["command"] == "python -m lm_lab plan"


@pytest.mark.processes
def test_the_commit_is_that_of_the_tree_that_tracks_the_code(tmp_path):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(
            ["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True, text=True
        )

    code = tmp_path / "code.py"
    code.write_text("1")
    assert records._git(code) is None
    git("init")
    assert records._git(code) is None  # in a tree that does not track it
    git("add", "code.py")
    git("commit", "-m", "Begin")
    commit = git("rev-parse", "HEAD").stdout.strip()
    assert records._git(code) == {"commit": commit, "dirty": False}
    code.write_text("2")
    assert records._git(code) == {"commit": commit, "dirty": True}


FAULTS = {
    "a file stands there": r"events \(FileExistsError: File exists\)",
    "the disk is full": r"events \(OSError: No space left on device\)",
    "it raises": r"events \(ZeroDivisionError: division by zero\)",
    "the folder is deleted": None,  # what is open is written on, and nobody sees it
    "it hangs": r"events \(not written after 0 s\)",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_copy_that_fails_is_warned_of_once_and_costs_nothing(
    tmp_path, monkeypatch, caplog, fault
):
    if fault == "a file stands there":
        (tmp_path / "tensorboard").write_text("")
    goes_on = threading.Event()
    with monkeypatch.context() as patch, Metrics(tmp_path) as metrics:
        metrics.write({"step": 1, "train/nll": 2.0})
        if fault == "the disk is full":
            full = iter([OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
            patch.setattr("tensorboardX.record_writer.os.fsync", lambda _: fail(next(full, None)))
        elif fault == "it raises":
            patch.setattr(Events, "write", lambda *_: 1 / 0)
        elif fault == "the folder is deleted":
            wait_for(lambda: any(tmp_path.glob("tensorboard/*tfevents*")))
            shutil.rmtree(tmp_path / "tensorboard")
        elif fault == "it hangs":
            patch.setattr(copies, "CLOSE_SECONDS", 0.05)
            patch.setattr(Events, "write", lambda *_: 1 / (not goes_on.wait()))
        metrics.write({"step": 2, "train/nll": 1.5})
        metrics.write({"step": 3, "train/nll": 1.0})
    goes_on.set()  # one that was left behind fails in silence
    for thread in threading.enumerate():
        if thread.name == "events":
            thread.join(10)
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2, 3]
    said = [record.getMessage() for record in caplog.records]
    if FAULTS[fault] is None:
        assert not said
    else:
        [warning] = said
        words = f"/tensorboard: no more of {FAULTS[fault]}; metrics.jsonl has all that it shows"
        assert re.search(words, warning)


def fail(error):
    if error:
        raise error
