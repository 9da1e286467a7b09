"""What the workers of a sweep find on this machine: versions, devices, cores."""

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

    Asked of a process of its own: a launcher that touched an accelerator would keep its memory from
    the workers. Raises UserError where JAX does not start.
    """
    answer = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, *sys.argv], capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["it says nothing"]
        raise UserError(
            f"JAX does not start here: {lines[-1]}; check JAX_PLATFORMS and the installation"
        )
    return json.loads(answer.stdout.splitlines()[-1])
