import os
import signal
import subprocess
import sys

import pytest

from lm_lab.runs.locks import Lock
from lm_lab.types import UserError


def test_a_second_lock_names_the_holder(tmp_path):
    message = rf"{tmp_path} is in use by pid {os.getpid()} on \S+; .*another directory"
    with Lock(tmp_path / "lock"), pytest.raises(UserError, match=message):
        Lock(tmp_path / "lock").__enter__()
    with Lock(tmp_path / "lock"):
        pass


@pytest.mark.processes
def test_a_lock_dies_with_its_holder(tmp_path):
    script = (
        "import sys; from pathlib import Path; from lm_lab.runs.locks import Lock\n"
        "with Lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"in use by pid {holder.pid} on "):
            Lock(tmp_path / "lock").__enter__()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with Lock(tmp_path / "lock"):
        pass
