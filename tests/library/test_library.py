"""The guide of the library, and the examples of its names: each block and example runs."""

import doctest
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import lm_lab

ROOT = Path(lm_lab.__path__[0]).parent
GUIDE = ROOT / "docs/library.md"


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module in which cells run, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def failing_examples(name: str, names: dict[str, Any]) -> list[str]:
    """The docstrings of a public name whose examples give something else; [name] without any."""
    found = doctest.DocTestFinder(exclude_empty=True).find(getattr(lm_lab, name), name, globs={})
    tests = [test for test in found if test.examples]
    for test in tests:
        test.globs.update(names)
    failed = [test.name for test in tests if doctest.DocTestRunner().run(test).failed]
    return failed if tests else [name]


@pytest.mark.usefixtures("unsaved")
def test_the_guide_runs_and_so_do_the_examples(notebook: types.ModuleType):
    """One test, so that what the guide trained is there for the examples."""
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        exec(compile(block, str(GUIDE), "exec"), vars(notebook))
    run, scores = notebook.run, notebook.scores
    assert scores["nll"] == run.result["final"]["eval/heldout/nll"]
    names = vars(notebook)
    assert [each for name in lm_lab.__all__ for each in failing_examples(name, names)] == []


def test_every_public_name_is_in_the_table():
    table = GUIDE.read_text().partition("\n## ")[0]
    assert [name for name in lm_lab.__all__ if name not in table] == []


IMPORT = """
import sys, time
begin = time.perf_counter()
import lm_lab
print(time.perf_counter() - begin < 1, {"jax", "numpy", "matplotlib"} & set(sys.modules))
import lm_lab.cli.members
print({"scipy", "matplotlib", "lm_lab.report"} & set(sys.modules))
"""


@pytest.mark.processes
def test_the_import_is_quick_and_loads_nothing_and_a_worker_loads_nothing_that_draws_or_fits():
    process = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert process.stdout == "True set()\nset()\n"


def test_a_study_of_what_a_notebook_defines_is_refused_by_workers(notebook: types.ModuleType):
    cell = """
import lm_lab
from lm_lab.models import rnn

MINE = rnn.FAMILY._replace(needs_context=False)
base = lm_lab.load_config({
    "model": {"family": MINE},
    "objective": {"name": "causal"},
    "data": {"source": "synthetic"},
    "train": {"steps": 1},
})
study = lm_lab.Study("mine", "Whose?", base, [{}], {"kind": "isoflop"})
"""
    exec(cell, vars(notebook))
    assert notebook.base.model.family == "__main__:MINE"
    with pytest.raises(lm_lab.UserError, match=r"__main__.*worker processes do not have it"):
        lm_lab.run_study(notebook.study, "runs/mine", workers=1)


def test_messages_name_what_was_given():
    for call, says in {
        lambda: lm_lab.make_model("decoder"): "decoder.vocab is missing",
        lambda: lm_lab.make_model(
            "decoder", vocab=8, wdith=3
        ): "decoder.wdith does not exist; did you mean",
        lambda: lm_lab.make_model("decodr"): "family: no models named 'decodr'; did you mean",
        lambda: lm_lab.load_config(3):  # type: ignore[arg-type]
        "source must be a path, a dict or a ConfigDict",
        lambda: lm_lab.fit([{"N": 1}]): "table: no column is known as tokens",
        lambda: lm_lab.fit([]): "table: no rows",
    }.items():
        with pytest.raises(lm_lab.UserError, match=says):
            call()
