"""The tests with the marker `gpu`, on the device: kernels against the plain ones, cached = full,
resume, population = solo.

Products are in whole float32 there (matmul precision "highest"), as the tolerances of the tests
assume; those of bfloat16 state their own.
"""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tools.benchmarks.results import ROOT, Row
from tools.gpu.job import Job, Part, Setting

# jobs of their own, so that one that hangs or dies takes no other along
FILES = (
    "tests/nn/test_attention.py",
    "tests/nn/test_recurrent.py",
    "tests/nn/test_scans.py",
    "tests/generation/test_sampling.py",
    "tests/engine/test_step.py",
    "tests/models/test_families.py",
    "tests/train/test_resume.py",
)
ONE = "tests/nn/test_attention.py::test_half_precision_rounds_once_each_way"  # of the rehearsal


def jobs(setting: Setting) -> list[Job]:
    """A job a file of tests."""
    wanted = (ONE,) if setting.rehearse else FILES
    return [Job(words, partial(check, words, setting)) for words in wanted]


def check(words: str, setting: Setting, left: float) -> Iterator[Row]:
    """Rows of passed, failed and skipped tests, and a row for each one that failed. Raises
    RuntimeError where pytest ends without a report, and TimeoutExpired.
    """
    environment = dict(os.environ)
    if not setting.rehearse:
        wanted = {"JAX_PLATFORMS": "cuda,cpu", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
        environment |= wanted
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", words, "-m", "gpu", f"--junitxml={report}"]
        subprocess.run(command, cwd=ROOT, env=environment, check=False, timeout=left)
        if not report.is_file():
            raise RuntimeError(f"{' '.join(command)} ended without a report; see above")
        yield from read(report)


def read(report: Path) -> Iterator[Row]:
    """Rows of a report of pytest (JUnit's XML): the count of each outcome, then the tests that
    failed, with their first words.
    """
    outcomes, failed = Counter[str](), list[str]()
    for case in ElementTree.parse(report).iter("testcase"):
        bad = [child for child in case if child.tag in ("failure", "error")]
        skipped = case.find("skipped") is not None
        outcomes["failed" if bad else "skipped" if skipped else "passed"] += 1
        if bad:
            message = bad[0].get("message", "")[:300]
            failed.append(f"{case.get('classname')}::{case.get('name')}: {message}")
    for outcome in ("passed", "failed", "skipped"):
        yield Row(outcome, "tests", outcomes[outcome])
    for words in failed:
        yield Row(f"failed: {words}", "tests", 1)


PART = Part(jobs, "the tests with the marker gpu, on the device", alone=False)
