"""The faults of an outside module are named in one line."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lm_lab.train import loop
from lm_lab.train.run import Run
from lm_lab.types import UserError
from tests import tiny

OUTSIDE = Path(__file__).parent / "outside"
FAMILY, OBJECTIVE, TOKENIZER = (
    (OUTSIDE / "my_lab" / f"{name}.py").read_text() for name in ("bag", "halved", "letters")
)
SOURCE = """
from dataclasses import dataclass
from lm_lab.contracts import Source
from lm_lab.types import Document

@dataclass(frozen=True)
class Config:
    pass

def documents(config):
    for number in range(9):
        yield Document(f"{number}", f"{number} " * 99)

def fingerprint(config):
    return "always"

SOURCE = Source(Config, documents, fingerprint)
"""


@pytest.fixture
def research(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of the user's own."""
    folder = tmp_path / "my_research"
    folder.mkdir()
    monkeypatch.syspath_prepend(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_research"
    for name in [name for name in sys.modules if name.startswith("my_research")]:
        del sys.modules[name]


def _changed(code: str, old: str, new: str) -> str:
    assert old in code
    return code.replace(old, new)


MODELS = {
    "no FAMILY": (("FAMILY =", "FAMLY ="), "has no FAMILY = Family(...)"),
    "no scope": ((', scope="causal"', ""), "missing 1 required positional argument: 'scope'"),
    "unknown scope": (('"causal"', '"past"'), "has scope 'past', not 'causal' or"),
    "another kind": (
        ("Family(Config, Model", "dict(a=Config, b=Model"),
        "has FAMILY, which is a dict, not a Family",
    ),
    "open settings": (("(frozen=True)", ""), "has a Config that is no frozen dataclass"),
    "broken": (
        ("class Model(", "flx\nclass Model("),
        "fails as it is imported: NameError: name 'flx' is not defined",
    ),
}
OBJECTIVES = {
    "no function": ((" make,", " 3,"), "has make 3, which is no function make("),
    "few arguments": (
        ("make(config, length, vocabulary):", "make(config):"),
        "has a make that is not called as make(Config, int, Vocabulary)",
    ),
    "unknown text": (
        ('scope="causal"', 'scope="causal", consumes="pair"'),
        "has consumes 'pair', not 'stream' or",
    ),
    "no Objective": (
        ("ObjectiveFunctions(prepare", "(prepare"),
        "has a make that gives a tuple, not a lm_lab.types.ObjectiveFunctions",
    ),
    "no weight": (
        ("causal.loss)", "lambda *_: {'nll': 0.0})"),
        "its loss gives no 'weight'",
    ),
    "a number alone": (("causal.loss)", "lambda *_: 0.0)"), "its loss gives a float, not a dict"),
    "no sums": (
        ("causal.loss)", "lambda logits, _: {'nll': logits.sum(-1), 'weight': 1.0})"),
        "its loss gives 'nll' of shape (",
    ),
    "no Batch": (
        ("batch._replace", "dict"),
        "has a prepare that gives a dict, not a lm_lab.types.Batch",
    ),
}
TOKENIZERS = {
    "few arguments": (
        ("make(config, learnt):", "make(config):"),
        "has a make that is not called as make(Config, bytes)",
    ),
    "no Codec": (
        ("byte._replace(", "dict("),
        "has a make that gives a dict, not a lm_lab.types.Codec",
    ),
    "short table": (("byte._replace(", "byte._replace(vocab=9, "), "has 257 entries for 9 ids"),
    "ids beyond": (
        ("byte.encode(text.lower())", "[300]"),
        "gives id 300, outside its vocabulary of 257",
    ),
    "words": (("byte.encode(text.lower())", "['a']"), "gives ids of dtype <U"),
}
SOURCES = {
    "no SOURCE": (("SOURCE =", "SOUCE ="), "has no SOURCE = Source(...)"),
    "plain text": (
        ('yield Document(f"{number}", ', "yield ("),
        "document 1 of 'my_research.lacking' is a str, not a",
    ),
    "no digest": (('"always"', 'b"a"'), "gives a bytes, not text"),
}
LACKING = [
    pytest.param(key, _changed(code, *change), message, id=f"{key}, {name}")
    for key, code, table in (
        ("model.family", FAMILY, MODELS),
        ("objective.name", OBJECTIVE, OBJECTIVES),
        ("data.tokenizer", TOKENIZER, TOKENIZERS),
        ("data.source", SOURCE, SOURCES),
    )
    for name, (change, message) in table.items()
]


@pytest.mark.parametrize("key, code, message", LACKING)
def test_what_a_module_lacks_is_one_line(research, tmp_path, key, code, message):
    (tmp_path / research / "lacking.py").write_text(code)
    importlib.invalidate_caches()
    section, _, field = key.partition(".")
    changes = {
        section: {field: f"{research}.lacking"} | ({"length": 16} if section == "data" else {})
    }
    with pytest.raises(UserError) as caught:
        loop.train([Run(*tiny.resolve(changes), tmp_path / "run")])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_objective_on_pairs_needs_neither_measures_nor_window(research, tmp_path):
    code = (
        "from lm_lab.contracts import Objective\n"
        "from lm_lab.objectives.causal import Config, make\n"
        "OBJECTIVE = Objective(Config, make, 'causal', consumes='pairs', needs_context=None)\n"
    )
    (tmp_path / research / "plain_pairs.py").write_text(code)
    lines = "".join(f"say {n}\t{n} {n}\n" for n in range(40))
    (tmp_path / "pairs.tsv").write_text(lines)
    data = {
        "source": {"name": "pairs", "path": str(tmp_path / "pairs.tsv")},
        "length": 8,
        "holdout_fraction": 0.4,
    }
    changes = {
        "objective": {"name": f"{research}.plain_pairs"},
        "data": data,
        "train.batch_size": 4,
    }
    (result,) = loop.train([Run(*tiny.resolve(changes), tmp_path / "run")])
    assert result["status"] == "complete"
