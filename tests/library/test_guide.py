"""docs/library.md: every block of code runs, in order, as the cells of one notebook."""

import re
import sys
import types
from pathlib import Path

import pytest

import lm_lab

GUIDE = Path(lm_lab.__path__[0]).parents[0] / "docs/library.md"


def test_every_block_of_the_guide_runs(names, monkeypatch: pytest.MonkeyPatch):
    del names
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    notebook = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), vars(notebook))  # noqa: S102 - our own page
    table = GUIDE.read_text().partition("## ")[0]
    missing = [name for name in lm_lab.__all__ if f"`{name}" not in table and name[0].islower()]
    assert not missing
