"""The examples of the public names: each runs, and gives what it says."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import lm_lab

ROOT = Path(lm_lab.__path__[0]).parent
DOCUMENTED = [
    name for name in lm_lab.__all__ if name not in ("Inputs", "Law", "Study", "UserError")
]


def examples(name: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(getattr(lm_lab, name), name, globs={})
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_run(name: str, names):
    tests = examples(name)
    assert tests, f"{name} has no example"
    for test in tests:
        test.globs.update(names)
        found = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(test)
        assert not found.failed, test.name


IMPORT = """
import sys, time
begin = time.perf_counter()
import lm_lab
print(time.perf_counter() - begin < 1, {"jax", "numpy", "matplotlib"} & set(sys.modules))
"""


@pytest.mark.processes
def test_the_import_is_quick_and_loads_nothing():
    process = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert process.stdout == "True set()\n"
