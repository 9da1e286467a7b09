"""The study experiments/isoflop_demo grown to a GPU's budgets, by its command line: its forecast,
its seconds, its figure and its page. Its runs stay in build/, where the same part goes on.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tools.benchmarks.results import ROOT, Row
from tools.gpu.job import Job, Part, Setting

KEPT = ("report.html", "analysis.json", "results.csv", "sweep.json", "figures/valleys.png")
TO_STOP = 45.0  # seconds that a sweep has for its save and its report


def extent(setting: Setting) -> str:
    """Which form of the study is run."""
    return "quick" if setting.rehearse else "grown"


def command(setting: Setting, folder: Path) -> list[str]:
    """The command line of the study."""
    words = ["sweep", f"experiments/isoflop_demo:{extent(setting)}", f"--workdir={folder}"]
    return [sys.executable, "-m", "lm_lab", *words]


def jobs(setting: Setting) -> list[Job]:
    """The study is one job: begun again, it goes on where it stopped."""
    return [Job("isoflop_demo", partial(run, setting))]


def run(setting: Setting, left: float) -> Iterator[Row]:
    """Runs the study, and stops it where time runs out, early enough for its save and a report of
    the runs that have ended. Raises RuntimeError, after its rows, where the study did not end well.
    """
    folder = ROOT / "build" / f"isoflop_{extent(setting)}"
    begin, stopped = time.monotonic(), ""
    # Where nothing is installed, workers too find the package here.
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(command(setting, folder), cwd=ROOT, env=environment)
    try:
        code = process.wait(max(1.0, left - TO_STOP))
    except subprocess.TimeoutExpired:
        stopped = ", stopped for want of time"
        process.send_signal(signal.SIGTERM)
        code = process.wait()
        report = [sys.executable, "-m", "lm_lab", "report", str(folder)]
        subprocess.run(report, cwd=ROOT, check=False)
    yield Row(f"the study{stopped}", "s", time.monotonic() - begin)
    yield from found(folder)
    keep(folder, setting.out / "study")
    if code:
        raise RuntimeError(f"the study ended with exit code {code}{stopped}; see above")


def found(folder: Path) -> Iterator[Row]:
    """Rows of what a sweep's directory holds: runs that are complete, their FLOPs, and the forecast
    of the held-out ones.
    """
    sweep = json.loads((folder / "sweep.json").read_text())
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*/*/result.json"))]
    complete = [result for result in results if result["status"] == "complete"]
    yield Row("complete runs", "", len(complete))
    yield Row("their FLOPs", "", sum(result["flops"] for result in complete))
    yield Row("their seconds of training", "s", sum(result["seconds"] for result in complete))
    for registered in sweep.get("forecasts", []):
        forecast = registered["forecast"]
        name = f"forecast of the {forecast['target']}, by the {forecast['predictor']}"
        if forecast["predicted"] is not None:
            yield Row(name, "nats", forecast["predicted"])


def keep(folder: Path, kept: Path) -> None:
    """Copies the page, the figure and the results beside the record, as far as they are there."""
    kept.mkdir(exist_ok=True)
    for name in KEPT:
        if (folder / name).is_file():
            shutil.copy2(folder / name, kept)


PART = Part(jobs, "experiments/isoflop_demo:grown, its forecast, figures and answer", alone=False)
