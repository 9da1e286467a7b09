"""The output of the commands: help, one line for a mistake, a divergence, a full disk; plain lines
and a bar.
"""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

import pytest

from lm_lab.cli import main, sweep
from lm_lab.library.counting import count_configs
from lm_lab.runs.config import read_config_file
from tests.cli import cli_helpers
from tests.cli.cli_helpers import killed_at, lm_lab


@pytest.mark.parametrize("command", main.COMMANDS)
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]):
    assert main.dispatch([command, "--help"]) == 0
    assert f"  lm-lab {command} " in capsys.readouterr().out.replace("\nlm-lab", "\n  lm-lab")


def test_without_a_command_all_are_named(capsys: pytest.CaptureFixture[str]):
    assert main.dispatch([]) == 0
    usage = capsys.readouterr().out
    for command, words in main.COMMANDS.items():
        assert re.search(rf"  lm-lab {command}  +{words}\n", usage)


def test_a_report_older_than_a_result_is_outdated(tmp_path: Path):
    (tmp_path / "runs/a").mkdir(parents=True)
    for time, name in enumerate(("sweep.json", "runs/a/result.json", "report.html"), start=1):
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (time, time))
    assert not sweep._outdated(tmp_path)
    os.utime(tmp_path / "runs/a/result.json", (9, 9))
    assert sweep._outdated(tmp_path)
    (tmp_path / "report.html").unlink()
    assert sweep._outdated(tmp_path)


@pytest.mark.processes
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, config: str):
    ended = lm_lab("train", config, f"--workdir={tmp_path}/new", "--config.modle.depth=4")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "lm-lab: config.modle does not exist; did you mean 'model'?\n"
    assert not (tmp_path / "new").exists()


@pytest.mark.processes
def test_jax_that_does_not_start_is_one_line(
    tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JAX_PLATFORMS", "abacus")
    command = [sys.executable, "-m", "lm_lab", "train", config, f"--workdir={tmp_path}/new"]
    ended = subprocess.run(
        command, cwd=cli_helpers.ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert "abacus" in ended.stderr
    assert "check JAX_PLATFORMS" in ended.stderr


@pytest.mark.processes
def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(tmp_path: Path, config: str):
    words = ("train", config, f"--workdir={tmp_path}", "--config.optimizer.peak_rate=1e30")
    ended = lm_lab(*words)
    result = json.loads((tmp_path / "result.json").read_text())
    assert (ended.returncode, result["status"]) == (1, "diverged")
    assert (
        f"no longer finite at step {result['steps']}; lower config.optimizer.peak_rate"
        in ended.stdout
    )
    assert "Traceback" not in ended.stderr
    again = lm_lab(*words)
    assert (again.returncode, again.stdout, again.stderr) == (1, ended.stdout, "")


@pytest.fixture
def small_disk():
    """A file system of 2 MiB; skips where this user may not mount one. It lies apart from pytest's
    folders: where tests are killed and leave it, later ones could not remove theirs.
    """
    disk = Path(tempfile.mkdtemp(prefix="lm_lab_disk_"))
    mount = shutil.which("mount")
    words = [str(mount), "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if mount is None or subprocess.run(words, capture_output=True, check=False).returncode:
        disk.rmdir()
        pytest.skip("mounting a file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
    disk.rmdir()


@pytest.mark.processes
def test_a_full_disk_is_one_line_and_costs_no_checkpoint(
    small_disk: Path, config: str, undisturbed: Path
):
    words = ("train", config, f"--workdir={small_disk}/run")
    assert (
        killed_at("SIGKILL", "lm_lab.runs.commits.commit", 3, *words).returncode == -signal.SIGKILL
    )
    with (small_disk / "filler").open("wb") as filler:
        # Leaves too little for another checkpoint.
        filler.write(bytes(shutil.disk_usage(small_disk).free - 200_000))
    ended = lm_lab(*words)
    assert ended.returncode == 2
    assert [line for line in ended.stderr.splitlines() if "step" not in line.split(",")[0]] == []
    assert "No space left on device" in ended.stderr
    assert ended.stderr.rstrip().endswith("free some space")
    (small_disk / "filler").unlink()
    assert lm_lab(*words).returncode == 0
    cli_helpers.assert_same_run(small_disk / "run", undisturbed)


@pytest.mark.processes
def test_a_disk_that_fills_during_a_save_is_one_line_too(small_disk: Path, config: str):
    code = "import shutil, types; shutil.disk_usage = lambda _: types.SimpleNamespace(free=2**60)\n"
    code += "from lm_lab.cli.main import main; main()"
    words = ("train", config, f"--workdir={small_disk}/run", "--config.model.width=128")
    command, settings = (
        [sys.executable, "-c", code, *words],
        {"env": cli_helpers.environment(), "text": True},
    )
    ended = subprocess.run(command, capture_output=True, check=False, **settings)
    assert ended.returncode == 2
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("run: step ")]
    assert len(lines) == 1, ended.stderr
    assert lines[0].endswith("cannot save the checkpoint: No space left on device; free some space")


def test_a_run_is_counted_before_it_begins_as_when_it_has_ended(undisturbed: Path):
    _, config = read_config_file(undisturbed / "config.json")
    result = json.loads((undisturbed / "result.json").read_text())
    assert count_configs([config]) == [
        {
            "params": result["params"]["matmul"],
            # four numbers a parameter (its gradient and two moments too), and AdamW's count
            "state_bytes": 4 * (4 * result["params"]["total"] + 1),
            "params_body": result["params"]["matmul_body"],
            "params_total": result["params"]["total"],
            "tokens": result["tokens"],
            "flops": result["flops"],
        }
    ]


@pytest.mark.processes
def test_a_terminal_gets_a_bar_and_a_file_plain_lines(
    tmp_path: Path, home: Path, config: str, undisturbed: Path
):
    master, terminal = pty.openpty()
    fcntl.ioctl(
        terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0)
    )  # rows and columns
    command = [sys.executable, "-m", "lm_lab", "train", config, f"--workdir={tmp_path}/bar"]
    with subprocess.Popen(
        command,
        cwd=cli_helpers.ROOT,
        env=cli_helpers.environment(),
        stderr=terminal,
        stdout=terminal,
    ):
        os.close(terminal)
        shown = b""
        while chunk := _read(master):
            shown += chunk
    os.close(master)
    assert "\rbar:" in shown.decode()
    assert "60/60" in shown.decode()

    assert undisturbed.is_dir()
    plain = (home / "undisturbed.stderr").read_text()
    assert "\r" not in plain
    assert "\x1b" not in plain
    assert re.match(
        r"undisturbed: step 60/60, held-out \d\.\d+, loss \d\.\d+, ", plain.splitlines()[-1]
    )


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other end is closed
        return b""
