"""Study files: found and run, or refused with the reason."""

import pytest
from ml_collections import ConfigDict

from lm_lab.sweeps.study import Study, load
from lm_lab.types import UserError

GOOD = """
from ml_collections import ConfigDict
from lm_lab.sweeps.algebra import param
from lm_lab.sweeps.study import Study

def study():
    sweep = param("seed", [0, 1])
    return Study("demo", "Which?", ConfigDict({"seed": 0}), sweep, {"kind": "isoflop"})
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "isoflop_demo.py").write_text(GOOD)
    (tmp_path / "rate_transfer.py").write_text(GOOD)
    return tmp_path


def test_a_study_is_loaded_with_and_without_suffix(folder):
    for name in ("isoflop_demo", "isoflop_demo.py"):
        study = load(folder / name)
        assert (study.name, len(study.sweep), study.analysis["kind"]) == ("demo", 2, "isoflop")


def test_a_relative_path_is_enough(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert load(f"{folder.name}/isoflop_demo").name == "demo"


def test_a_missing_file_names_the_nearest(folder):
    with pytest.raises(UserError, match=r"no study at .*isoflop_dmeo; did you mean 'isoflop_demo'"):
        load(folder / "isoflop_dmeo")
    with pytest.raises(UserError, match=r"known: isoflop_demo, rate_transfer"):
        load(folder / "zzz")
    with pytest.raises(UserError, match=r"the folder .* does not exist"):
        load(folder / "nowhere" / "x")


@pytest.mark.parametrize(
    "text, words",
    [
        ("def studdy(): pass", r"has no function study\(\); did you mean 'studdy'"),
        ("x = 1", r"has no function study\(\); known: none"),
        ("import nothing_of_this_name", r"bad.py:1: Module.*; put its folder on PYTHONPATH"),
        ("def study(:", r"SyntaxError.*bad.py, line 1"),
        ("def study():\n    return 1 / 0", r"bad.py:2: ZeroDivisionError"),
        ("def study():\n    return 3", r"study\(\) must return a .*Study, not int"),
        ("def study(size):\n    return size", r"TypeError: study\(\) missing"),
        ("from lm_lab.sweeps.algebra import param\nparam('a', [])", r"bad.py: a has no values"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path, text, words):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        load(tmp_path / "bad")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "sweep, analysis, words",
    [
        ([], {"kind": "x"}, "its sweep has no points"),
        ([{}], {}, "its analysis needs a 'kind'"),
        ([{}], {"kind": "x", "f": print}, "must be plain"),
        ([{"a": {1, 2}}], {"kind": "x"}, "must be plain"),
        ([{"a": float("nan")}], {"kind": "x"}, "must be plain"),
    ],
)
def test_a_study_checks_itself(sweep, analysis, words):
    with pytest.raises(UserError, match=words):
        Study("s", "?", ConfigDict(), sweep, analysis)
