"""The wheel holds all that lm_lab needs without a clone, and the release has one version."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from lm_lab import shipped
from lm_lab.cli import demo, main
from lm_lab.sweeps import study
from lm_lab.types import UserError
from tests.test_house import ROOT, setup, tracked

BUILD = """
from setuptools import build_meta
build_meta.build_wheel("dist")
build_meta.build_sdist("dist")
"""
INSIDE = {"lm_lab": "lm_lab", "configs": "lm_lab/configs", "experiments": "lm_lab/experiments"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source distribution of the tree."""
    pytest.importorskip("setuptools", "77", "only setuptools 77 or later builds the wheel")
    tree = tmp_path_factory.mktemp("tree")
    for path in tracked():
        copy = tree / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    subprocess.run([sys.executable, "-c", BUILD], cwd=tree, check=True, capture_output=True)
    return tree / "dist"


def top(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


@pytest.mark.processes
def test_a_wheel_holds_the_package_with_its_configs_and_studies(built: Path):
    with zipfile.ZipFile(*built.glob("*.whl")) as made:
        wheel = {name for name in made.namelist() if ".dist-info/" not in name}
    own = [path for path in tracked() if top(path) in INSIDE]
    wanted = {f"{INSIDE[top(path)]}/{path.relative_to(ROOT / top(path))}" for path in own}
    assert wheel == wanted, "setup.cfg lists the folders in `packages`, other files in package_data"
    assert {"lm_lab/py.typed", "lm_lab/experiments/isoflop_demo.py"} <= wheel


@pytest.mark.processes
def test_a_source_distribution_is_the_clone(built: Path):
    with tarfile.open(*built.glob("*.tar.gz")) as made:
        names = {name.partition("/")[2] for name in made.getnames()}
    own = {str(path.relative_to(ROOT)) for path in tracked()}
    assert {name for name in own - names if not name.startswith(".")} == set(), "see MANIFEST.in"


def test_the_release_has_one_version():
    (version,) = setup("metadata")["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## (\S+?)[,\s]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version


def test_the_program_says_its_version(capsys: pytest.CaptureFixture[str]):
    assert main.dispatch(["--version"]) == 0
    assert re.fullmatch(r"lm_lab \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_files_that_lm_lab_brings_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    own = Path("configs/decoder_tiny.py")
    assert shipped.find(own) == ROOT / own
    for path in (Path("decoder_tiny.py"), Path("configs/none.py"), tmp_path / own):
        assert shipped.find(path) == path
    own.parent.mkdir()
    own.write_text("")
    assert shipped.find(own) == own  # a file of the user's goes first


def test_a_wheels_folders_go_before_those_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "lm_lab")
    assert shipped.folder("configs") == tmp_path / "configs"
    (tmp_path / "lm_lab/configs").mkdir(parents=True)
    assert shipped.folder("configs") == tmp_path / "lm_lab/configs"


def test_the_demo_is_a_study_with_a_quick_extent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # as without a clone
    full, quick = study.load(demo.STUDY), study.load(f"{demo.STUDY}:quick")
    assert (len(full.sweep), len(quick.sweep)) == (64, 9)
    assert max(point["train.budget_flops"] for point in quick.sweep) <= min(
        point["train.budget_flops"] for point in full.sweep
    )
    with pytest.raises(UserError, match="no extent 'quikc'; did you mean 'quick'"):
        study.load(f"{demo.STUDY}:quikc")


def test_the_demo_launches_the_study_that_was_asked_for(monkeypatch: pytest.MonkeyPatch):
    given = []
    monkeypatch.setattr(demo.sweep, "run", lambda argv: given.append(argv) or 0)
    assert demo.run([]) == demo.run(["--quick", "--workers=1"]) == 0
    assert given == [
        ["experiments/isoflop_demo", "--workdir=runs/isoflop_demo"],
        ["experiments/isoflop_demo:quick", "--workdir=runs/isoflop_quick", "--workers=1"],
    ]
    with pytest.raises(UserError, match="unexpected argument 'quick'"):
        demo.run(["quick"])
