"""Shared by the tests of the commands: a tiny run, a launch of lm-lab as a process, and the records
it leaves.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from tests import forked
from tests.forked import ROOT, environment

CLOCKS = (
    "seconds",
    "compile_seconds",
    "tokens_per_second",
)  # fields in which two runs of one config may differ

CONFIG = """
from ml_collections import ConfigDict

def get_config():
    config = ConfigDict()
    config.model = ConfigDict({"family": "decoder", "width": 16, "depth": 1, "heads": 2})
    config.objective = ConfigDict({"name": "causal"})
    source = {"name": "synthetic", "documents": 64, "document_bytes": 256}
    config.data = ConfigDict({"source": source, "length": 16})
    config.optimizer = ConfigDict({"peak_rate": 3e-3, "clip_norm": None})
    config.schedule = ConfigDict({"warmup_steps": 5})
    config.train = ConfigDict({
        "steps": 60, "batch_size": 4, "steps_per_call": 5,
        "eval_every_steps": 20, "eval_batches": 2, "checkpoint_every_steps": 10,
    })
    return config
"""


def start(*words: Any, module: str = "lm_lab") -> forked.Forked:
    """lm-lab as a process of its own, whose imports are done."""
    return forked.fork(module, *map(str, words))


def lm_lab(*words: Any, module: str = "lm_lab") -> subprocess.CompletedProcess[str]:
    """Runs lm-lab to its end. The time limit catches a hang; it is far above the time on a busy
    machine.
    """
    with start(*words, module=module) as process:
        out, error = process.communicate(timeout=600)
    return subprocess.CompletedProcess(words, process.returncode or 0, out, error)


def lm_lab_anew(*words: Any) -> subprocess.CompletedProcess[str]:
    """As `lm_lab`, in a new Python process that imports everything itself, as a user's does."""
    command = [sys.executable, "-m", "lm_lab", *map(str, words)]
    pipes = {"capture_output": True, "text": True, "timeout": 600}
    return subprocess.run(
        command, cwd=ROOT, env=environment(), start_new_session=True, check=False, **pipes
    )


def killed_at(signal: str, point: str, call: int, *words: Any) -> subprocess.CompletedProcess[str]:
    """lm-lab that is sent a signal just before the `call`th call of the function at the dotted path
    `point`.
    """
    return lm_lab(signal, point, call, *words, module="tests.cli.killed_process")


def final_arrays(run: Path) -> list[np.ndarray]:
    """The newest checkpoint's arrays, in the order of their tree."""
    folder = run / "checkpoints" / (run / "checkpoints/LAST_GOOD").read_text().strip()
    return [np.asarray(leaf) for leaf in jax.tree.leaves(ocp.load(str(folder)))]


def records(run: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """metrics.jsonl and result.json, without times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [without_clocks(line) for line in lines], without_clocks(
        json.loads((run / "result.json").read_text())
    )


def rows(sweep: Path) -> list[dict[str, Any]]:
    """results.csv, without times."""
    with (sweep / "results.csv").open(newline="") as file:
        return [without_clocks(row) for row in csv.DictReader(file)]


def without_clocks(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in CLOCKS}


def assert_same_run(one: Path, other: Path) -> None:
    """The same records, and the same state in every bit."""
    assert records(one) == records(other)
    pairs = list(zip(final_arrays(one), final_arrays(other), strict=True))
    assert len(pairs) > 20  # parameters, both moments, counters, settings
    assert all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)


def stored(folder: Path) -> dict[str, bytes]:
    """Every file below the folder with its content, without locks, which name their last holder."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name.partition(".")[0] != "lock"
    }
