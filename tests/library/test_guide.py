"""docs/library.md: every block of code runs, in order, as the cells of one notebook."""

import sys
import types

import pytest

import lm_lab
from tests.library.conftest import BLOCKS, GUIDE


def test_every_block_runs(names, monkeypatch: pytest.MonkeyPatch):
    del names
    notebook = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    for block in BLOCKS:
        exec(compile(block, str(GUIDE), "exec"), vars(notebook))


def test_every_public_name_is_in_the_table():
    table = GUIDE.read_text().partition("\n## ")[0]
    assert [name for name in lm_lab.__all__ if name not in table] == []
