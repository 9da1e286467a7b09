"""The environment of a sweep's workers on this machine: versions, devices, cores."""

import json
import subprocess
import sys
from typing import Any

from lm_lab.types import UserError

SCRIPT = """
import json, sys
sys.argv = sys.argv[1:]
from lm_lab.runs.records import environment
print(json.dumps(environment()))
"""


def worker_environment() -> dict[str, Any]:
    """The environment, as a run records it, with the command line of this process.

    A process of its own finds it, because a launcher that used an accelerator itself would take
    memory from the workers. Raises UserError where lm_lab or JAX does not start.
    """
    answer = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, *sys.argv], capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["it says nothing"]
        raise UserError(
            f"a process of {sys.executable} does not start: {lines[-1]}; check the installation "
            "and JAX_PLATFORMS"
        )
    return json.loads(answer.stdout.splitlines()[-1])
