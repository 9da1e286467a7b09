"""What the workers of a sweep will find: versions, devices, cores."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from lm_lab.types import UserError

LOOK = """
import json, sys
sys.argv = sys.argv[1:]
from lm_lab.runs.records import environment
print(json.dumps(environment()))
"""


def look() -> dict[str, Any]:
    """The environment, as a run records it, with the command line of this process.

    Asked of a process of its own: a launcher that touched an accelerator would keep its memory from
    the workers. Raises UserError where JAX does not start.
    """
    answer = subprocess.run(
        [sys.executable, "-P", "-c", LOOK, *sys.argv], capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["it says nothing"]
        raise UserError(
            f"JAX does not start here: {lines[-1]}; check JAX_PLATFORMS and the installation"
        )
    return json.loads(answer.stdout.splitlines()[-1])


def default_workers(environment: Mapping[str, Any]) -> int:
    """One a core on CPUs; one where there is an accelerator, which a unit's whole population
    shares.
    """
    return core_count() if environment["devices"]["platform"] == "cpu" else 1


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
