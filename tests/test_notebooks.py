"""The notebooks run, at the sizes that they state for the tests; so do the tour and the recipes."""

import json
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from tests.test_house import ROOT

FOLDER = ROOT / "docs/notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.py"))
SIZE = re.compile(r"^(\w+ = ).*  # in the tests: (.+)$", re.MULTILINE)

pytestmark = pytest.mark.usefixtures("unsaved")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all of them run, one after another."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture
def main(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The module in which cells run."""
    monkeypatch.chdir(home)
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    yield module
    plt.close("all")


def execute(name: str, main: types.ModuleType) -> None:
    """Runs a notebook, as the module, at its smallest size."""
    source = (FOLDER / f"{name}.py").read_text()
    exec(compile(SIZE.sub(r"\1\2", source), f"{name}.py", "exec"), vars(main))


def says_where_documents_are_mixed(main: types.ModuleType, printed: str) -> None:
    forgetful, right = re.findall(r"^documents: (.*)$", printed, re.MULTILINE)
    assert "segments" in forgetful
    assert right == "holds"


def branches_to_the_bit(main: types.ModuleType, printed: str) -> None:
    assert main.branch.bits_per_byte("abba") == main.whole.bits_per_byte("abba")
    assert (main.first, main.second) == (main.LEAVES, main.SHORT)


def writes_what_it_trained(main: types.ModuleType, printed: str) -> None:
    assert abs(main.adapted.logits(main.ids) - main.theirs).max() < 1e-4


CHECKS: dict[str, Callable[[types.ModuleType, str], None]] = {
    "d_architecture": says_where_documents_are_mixed,
    "f_resume_and_branch": branches_to_the_bit,
    "g_transformers": writes_what_it_trained,
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.torch) if "transformers" in name else name
        for name in NOTEBOOKS
    ],
)
def test_it_runs(name: str, main: types.ModuleType, capsys: pytest.CaptureFixture[str]):
    if "transformers" in name:
        pytest.importorskip("transformers")
    execute(name, main)
    if name in CHECKS:
        CHECKS[name](main, capsys.readouterr().out)


@pytest.mark.parametrize("page", ["tour", "recipes"])
def test_the_blocks_of_a_page_run(page: str, main: types.ModuleType):
    text = (ROOT / f"docs/{page}.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, f"{page}.md", "exec"), vars(main))


def test_the_law_that_was_planted_lies_in_the_interval(main: types.ModuleType):
    """At the size that the page shows, not at the tests'."""
    table, _, _ = (FOLDER / "c_law.py").read_text().partition("\n# %%\n# Printed")
    exec(table, vars(main))
    assert main.law.surface.alpha.low < 0.34 < main.law.surface.alpha.high


def test_the_page_of_files_describes_what_runs_and_sweeps_have_written(
    home: Path, main: types.ModuleType
):
    for name, folder in {"b_study": "deep_or_wide", "f_resume_and_branch": "extended"}.items():
        if not (home / "runs" / folder).exists():
            execute(name, main)
    page = (ROOT / "docs/files.md").read_text()
    words = set(re.findall(r"`([^`\s]+)`", page))
    for path in (home / "runs").rglob("*"):
        within = {"checkpoints", "tensorboard", "figures", "tokenizer"} & set(path.parts)
        if path.is_file() and not within:
            assert path.name in page, path
    for name in ("result.json", "environment.json", "sweep.json", "changes.jsonl", "metrics.jsonl"):
        files = list((home / "runs").rglob(name))
        assert files, name
        lines = [json.loads(line) for file in files for line in _records(file)]
        unknown = {key for line in lines for key in line if key not in words}
        assert {key for key in unknown if not key.startswith("eval/")} == set(), name
    (table,) = (home / "runs").rglob("results.csv")
    columns = table.read_text().partition("\n")[0].split(",")
    varied = re.compile(r"eval/|seed$|\w+\.\w+|\w+_(loss|bits_per_byte)$")
    assert [name for name in columns if name not in words and not varied.match(name)] == []


def _records(file: Path) -> list[str]:
    """The objects of a file of JSON, or of JSON lines."""
    return file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
