"""A short `tools/torture_sweep.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "torture_sweep.py"


@pytest.mark.processes
def test_a_sweep_whose_launchers_and_workers_are_killed_ends_in_the_same_table():
    command = [sys.executable, str(TOOL), "--kills=3", "--runs=4"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "the table of 4 runs is the same to the bit" in ended.stdout
