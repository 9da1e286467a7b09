"""Shared by tests of the loop: compiled programs, and undisturbed runs."""

import pytest

from lm_lab.train import loop
from tests.train.launched import THREE, compile_once, runs_in


@pytest.fixture
def shared_programs(monkeypatch):
    """Runs of one program compile it once for all tests of this folder."""
    monkeypatch.setattr(loop, "compile_program", compile_once)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Three runs trained together from start to end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LM_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "token_stores"))
        patch.setattr(loop, "compile_program", compile_once)
        runs = runs_in(tmp_path_factory.mktemp("undisturbed"), THREE)
        results = loop.train(runs)
    assert [result["status"] for result in results] == ["complete"] * 3
    return runs
