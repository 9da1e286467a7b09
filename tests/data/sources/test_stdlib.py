"""The standard library of this interpreter, or one made for the test."""

import sysconfig

import pytest

from lm_lab.data import store
from lm_lab.data.documents import Corpus
from lm_lab.data.sources import stdlib
from lm_lab.data.tokenizers import byte
from lm_lab.types import UserError


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A standard library of four files, of which two are documents."""
    root = tmp_path / "lib"
    contents = {
        "b.py": b"b",
        "a/__init__.py": b"",
        "a/x.py": b"x",
        "site-packages/no.py": b"no",
        "latin.py": b"\xe9",
    }
    contents |= {"table.py": b"0" * stdlib.LARGEST_BYTES, "README": b"no"}
    for name, data in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(root))
    return root


def test_which_files_are_documents(library):
    assert [(d.name, d.text) for d in stdlib.documents(stdlib.Config())] == [
        ("a/x.py", "x"),
        ("b.py", "b"),
    ]


def test_change_of_interpreter_is_seen(library):
    prints = [stdlib.fingerprint(stdlib.Config())]
    (library / "b.py").write_bytes(b"c")
    prints.append(stdlib.fingerprint(stdlib.Config()))
    (library / "b.py").rename(library / "c.py")
    prints.append(stdlib.fingerprint(stdlib.Config()))
    assert len(set(prints)) == 3


def test_python_without_source(library):
    for file in list(library.rglob("*.py")):
        file.unlink()
    with pytest.raises(UserError, match=r"config\.data\.source: no \.py file below .*use a Python"):
        list(stdlib.documents(stdlib.Config()))


def test_this_interpreter_has_a_corpus(tmp_path):
    built = store.build(Corpus("stdlib", stdlib.Config()), byte.make(byte.Config()), tmp_path)
    tokens = len(built.train) + len(built.heldout)
    assert built.manifest["bytes"] + built.manifest["documents"] == tokens
    assert (
        built.manifest["bytes"] > 5e6
    )  # Debian's Python leaves the tests out: 9 MB instead of 23 MB
    assert 0.05 < len(built.heldout) / tokens < 0.15
    assert "import" in byte.make(byte.Config()).decode(built.train[:10_000])
