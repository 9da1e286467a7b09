"""Vocabularies are learnt once, from the training split, and again when the text changes."""

from pathlib import Path

import pytest

from lm_lab.data import store, vocabularies
from lm_lab.data.documents import Corpus
from lm_lab.data.sources import pairs
from lm_lab.data.splits import Rule
from lm_lab.data.tokenizers import byte, words
from lm_lab.types import UserError
from tests.pairs import write

RULE = Rule("documents", 0.1)


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("LM_LAB_CACHE", str(tmp_path / "cache"))
    write(tmp_path)
    return pairs.Config(str(tmp_path / "train.tsv"), str(tmp_path / "heldout.tsv"))


def learn(source, **settings):
    return vocabularies.tokenizer(
        "words", words.Config(**settings), [Corpus("pairs", source)], RULE
    )


def kept():
    return list(store.cache_directory().with_name("vocabularies").iterdir())


def test_what_is_held_out_is_not_learnt(source):
    tokenizer = learn(source, least_count=1)
    assert len(tokenizer.encode("n49 N49 jump")) == 3
    assert len(tokenizer.encode("n50")) == len("n50 ")


def test_learnt_once(source, monkeypatch):
    first = learn(source)
    once = words.TOKENIZER._replace(learn=lambda config, texts: pytest.fail("it learns again"))
    monkeypatch.setattr(words, "TOKENIZER", once)
    assert learn(source).identity == first.identity
    assert len(kept()) == 1


def test_the_share_of_unknown_words_is_said_once(source, capsys):
    text = Path(source.heldout_path).read_text()
    parts = [
        word for line in text.splitlines() for side in line.split("\t") for word in side.split(" ")
    ]
    known = {word for line in Path(source.path).read_text().split() for word in line.split()}
    share = 100 * sum(word not in known for word in parts) / len(parts)
    assert 0 < share < 100
    learn(source, least_count=1)
    said = capsys.readouterr().err
    assert (
        f"config.data.tokenizer 'words': {share:.3g} % of the held-out text's words are unknown"
        in said
    )
    assert "never trained; raise config.data.tokenizer.least_count" in said
    learn(source, least_count=1)
    assert capsys.readouterr().err == ""
    learn(source, most_words=3)
    assert "never trained" not in capsys.readouterr().err


def test_unless_told_otherwise_some_words_of_the_training_text_are_spelt(source):
    text = Path(source.path)
    text.write_text(text.read_text() + "rarely\tnever never\n")
    tokenizer = learn(source)
    assert len(tokenizer.encode("never")) == 1
    assert len(tokenizer.encode("rarely")) == len("rarely ")


def test_another_text_or_setting_is_another_vocabulary(source):
    names = [learn(source, least_count=count).identity for count in (1, 2)]
    Path(source.path).write_text(Path(source.path).read_text() + "new\twords\n")
    names.append(learn(source, least_count=1).identity)
    assert len(set(names)) == len(kept()) == 3


def test_damage_is_seen(source):
    learn(source)
    (path,) = kept()
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=rf"vocabulary .*{path.name} is damaged; delete it"):
        learn(source)


def test_a_cache_that_cannot_be_written(source, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LM_LAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write the vocabulary.*LM_LAB_CACHE"):
        learn(source)


def test_a_tokenizer_that_learns_nothing_reads_nothing():
    assert vocabularies.tokenizer("byte", byte.Config(), [Corpus("pairs", None)], RULE).vocab == 257
