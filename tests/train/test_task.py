"""A launch opens what it reads once: one hash of the corpus, one tokenizer,
each kind loaded once.
"""

from collections import Counter

import pytest

from lm_lab import config as configs
from lm_lab.data import documents, vocabularies
from lm_lab.data.text import Texts
from lm_lab.train import loop
from lm_lab.train.run import Run
from lm_lab.train.task import bind
from lm_lab.types import UserError
from tests import tiny


@pytest.fixture
def counts(monkeypatch) -> Counter:
    """How often a corpus was hashed, and a tokenizer opened."""
    counted: Counter = Counter()
    for owner, name in ((documents.Corpus, "hash"), (vocabularies, "tokenizer")):
        original = getattr(owner, name)

        def counting(*args, name=name, original=original):
            counted[name] += 1
            return original(*args)

        monkeypatch.setattr(owner, name, counting)
    return counted


def test_resolving_reads_no_text(counts):
    experiment, values = configs.resolve(tiny.config({"data.tokenizer": "characters"}))
    assert not counts
    assert experiment.model.settings.vocab is values["model"]["vocab"] is None


@pytest.mark.parametrize("tokenizer", ["byte", "characters"])
def test_a_launch_hashes_its_corpus_once_and_opens_its_tokenizer_once(tmp_path, counts, tokenizer):
    changes = {"train.steps": 2, "data.tokenizer": tokenizer}
    runs = [
        Run(*configs.resolve(tiny.config(changes | {"seed": seed})), tmp_path / f"{seed}")
        for seed in range(2)
    ]
    loop.train(runs)  # builds the token store, and hashes again to see that no text changed
    counts.clear()
    for run in runs:
        (run.directory / "result.json").unlink()
    loop.train(runs)
    assert counts == {"hash": 1, "tokenizer": 1}


def test_equal_data_sections_share_their_text(counts):
    texts = Texts()
    configured = [tiny.config({"seed": seed}) for seed in range(3)]
    tasks = [bind(*configs.resolve(config), texts) for config in configured]
    assert len({id(task.text) for task in tasks}) == counts["tokenizer"] == 1


def test_a_vocabulary_below_the_tokenizers_is_refused():
    with pytest.raises(UserError, match=r"config\.model\.vocab 9 is below the data's 257"):
        bind(*configs.resolve(tiny.config({"model.vocab": 9})))
