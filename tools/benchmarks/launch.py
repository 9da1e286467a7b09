"""What a launch costs a run, beside the run: milliseconds of a core, goal below 20.

Launches sweeps of runs that end at once (a stub writes their results in this process), of a real
config, one unit a run; then launches them again, which finds all of it done.
"""

import io
import json
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import lm_lab
from lm_lab.contracts import Outcome, Unit
from lm_lab.library.designs import resolver
from lm_lab.runs.durable import make_folder
from lm_lab.runs.sweep import run_directory
from lm_lab.sweeps.algebra import param, product
from lm_lab.sweeps.launch import launch
from lm_lab.sweeps.study import Study
from tools.benchmarks.results import Row

CONFIG = Path(__file__).parents[2] / "configs/decoder_tiny.py"
RESULT = {
    "status": "complete",
    "steps": 10,
    "tokens": 2560,
    "flops": 1e9,
    "params": {"matmul": 100, "matmul_body": 90, "total": 120},
    "final": {"eval/heldout/nll": 2.5, "eval/heldout/bits_per_byte": 3.6},
    "seconds": 0.5,
    "compile_seconds": 0.5,
}


class Stubs:
    """An executor whose runs end at once."""

    workers = 10_000  # so that a unit is one run

    def run(self, units: Sequence[Unit]) -> Generator[Outcome, None, None]:
        for unit in units:
            for name in unit.names:
                folder = run_directory(unit.log.parents[2], name)
                make_folder(folder)
                (folder / "result.json").write_text(json.dumps(RESULT))
            yield Outcome(unit, 0, "")


def study_of(runs: int) -> Study:
    widths = param("model.width", [16, 32, 48, 64, 80])
    points = product(widths, param("seed", range(runs // len(widths))))
    base = lm_lab.load_config(CONFIG)
    return Study("stubs", "What does a launch cost?", base, points, {"kind": "isoflop"})


def seconds_of(study: Study, folder: Path) -> float:
    environment: dict[str, Any] = {"command": "bench", "devices": {"platform": "cpu"}}
    began = time.process_time()
    summary = launch(
        study,
        folder,
        resolver(study, set()),
        lambda directory, names: ["true", *names],
        lambda platform, costs: Stubs(),
        environment=lambda: environment,
        stream=io.StringIO(),
    )
    assert summary.finished, summary.having("failed")[:1]
    return time.process_time() - began


def add_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, nargs="+", default=[250, 1000], help="of a sweep")


def run(flags: Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as room:
        seconds_of(study_of(5), Path(room, "warm"))  # what is imported and cached once
        for runs in [10] if flags.quick else flags.runs:
            study = study_of(runs)
            for name in ("", ", launched again"):
                each = seconds_of(study, Path(room, str(runs))) / runs
                yield Row(f"{runs:,} runs{name}", "ms of a core a run", 1000 * each)
