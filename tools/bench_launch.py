#!/usr/bin/env python3
"""tools/bench_launch.py [--runs=250,1000] [--profile]: what a launch costs a run, beside the run.

Launches sweeps of runs that end at once (a stub writes their results in this process), of a real
config, one unit a run. Prints the seconds of a core that a first launch takes, and a second, which
finds all of it done, and the most memory so far. Goal: below 20 ms a run, for any number of runs.
"""

import argparse
import cProfile
import io
import json
import pstats
import resource
import tempfile
import time
from collections.abc import Generator, Sequence
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

CONFIG = Path(__file__).parents[1] / "configs/decoder_tiny.py"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="250,1000")
    parser.add_argument("--profile", action="store_true", help="show what takes the time")
    words = parser.parse_args()
    profiler = cProfile.Profile()
    with tempfile.TemporaryDirectory() as room:
        seconds_of(study_of(5), Path(room, "warm"))  # what is imported and cached once
        for runs in map(int, words.runs.split(",")):
            study = study_of(runs)
            if words.profile:
                profiler.enable()
            first, second = (seconds_of(study, Path(room, str(runs))) for _ in range(2))
            profiler.disable()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            each, again = (1000 * seconds / runs for seconds in (first, second))
            print(
                f"{runs} runs: {first:.1f} s, {each:.1f} ms a run; launched again {second:.1f} s, "
                f"{again:.1f} ms a run; at most {peak:.0f} MiB",
                flush=True,
            )
    if words.profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(35)


if __name__ == "__main__":
    main()
