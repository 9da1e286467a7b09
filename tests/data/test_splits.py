"""To which split a document belongs, and which documents are left out."""

import json
import random
from types import SimpleNamespace

import numpy as np
import pytest

from lm_lab.data import splits, store
from lm_lab.data.documents import Corpus
from lm_lab.data.selection import Exact, Filter, Keep, Near
from lm_lab.data.splits import LEFT_OUT, Rule, scan
from lm_lab.data.tokenizers import byte
from lm_lab.types import Document, UserError

WORDS = [f"word{number}" for number in range(400)]


def essay(seed: int, changed: int = 0) -> str:
    """200 words, of which the first `changed` are replaced."""
    words = random.Random(seed).choices(WORDS, k=200)
    return " ".join(["else", *words[1:]] if changed else words)


def documents(**sides: list[str]) -> list[Document]:
    return [
        Document(f"{side}-{number}", text, split=None if side == "unstated" else side)
        for side, texts in sides.items()
        for number, text in enumerate(texts)
    ]


def scanned(given: list[Document], **rule) -> splits.Scan:
    return scan(lambda: iter(given), Rule("documents", 0.2, **rule), "stream")


def sides_of(given: list[Document], **rule) -> list[str]:
    found = scanned(given, **rule)
    names = {**dict(enumerate(splits.SIDES)), LEFT_OUT: "out"}
    return [names[side] for side in found.sides.tolist()]


def test_stated_sides_are_kept_and_the_rest_is_trained_on():
    given = documents(heldout=["a"], test=["b"], unstated=["c", "d"])
    assert sides_of(given) == ["heldout", "test", "train", "train"]


def test_where_only_the_test_is_stated_the_rule_divides_the_rest_as_without_it():
    texts = [essay(seed) for seed in range(40)]
    alone = sides_of(documents(unstated=texts))
    assert {"train", "heldout"} == set(alone)
    assert sides_of(documents(unstated=texts, test=["z"])) == [*alone, "test"]


def test_documents_of_a_group_go_to_one_side():
    given = [Document(str(n), essay(n), group=f"author {n % 20}") for n in range(200)]
    sides = sides_of(given)
    assert {"train", "heldout"} == set(sides)
    assert all(len(set(sides[author::20])) == 1 for author in range(20))
    assert sides_of([document._replace(group=None) for document in given]) != sides
    # A copy in a group of another side is counted.
    heldout, train = sides.index("heldout"), sides.index("train")
    given[train] = given[train]._replace(text=given[heldout].text)
    assert sides_of(given) == sides
    assert scanned(given).leaked == 1


@pytest.mark.parametrize("given", [{"test": ["a"]}, {"train": ["a"], "test": ["b"]}])
def test_a_side_without_text_is_refused(given):
    with pytest.raises(UserError, match=r"config\.data\.source: gives"):
        sides_of(documents(**given))


def test_a_store_with_a_test_has_its_tokens_and_one_without_has_no_file(tmp_path, monkeypatch):
    for name, more in (("plain", {}), ("tested", {"test": ["the end", "of all"]})):
        given = documents(train=["one", "two"], heldout=["three"], **more)
        source = SimpleNamespace(
            documents=lambda _, given=given: iter(given),
            fingerprint=lambda _, name=name: name,
            form=lambda _: "stream",
        )
        corpus = Corpus("stdlib", None)
        monkeypatch.setattr(corpus, "source", source)
        monkeypatch.setattr(corpus, "settings", byte.Config())
        built = store.build(corpus, byte.TOKENIZER.make(byte.Config(), b""), tmp_path)
        assert ("test" in built.tokens, (built.path / "test.tokens").exists()) == (bool(more),) * 2
        assert bytes(built.train[:3].astype(np.uint8)) == b"one"
    assert byte.TOKENIZER.make(byte.Config(), b"").decode(built.tokens["test"]) == "the endof all"
    lines = (built.path / "documents.jsonl").read_text().splitlines()
    sides = [json.loads(line)["file"].removesuffix(".tokens") for line in lines]
    assert sides == ["train", "train", "heldout", "test", "test"]


def test_filters_leave_out_and_count(capsys):
    given = documents(train=["short", "a long text", "a longer text!"], heldout=["held out"])
    filtered = Filter(least_bytes=6, matches_not="[!]")
    assert sides_of(given, filter=filtered) == ["out", "train", "out", "heldout"]
    said = capsys.readouterr().err
    assert "1 by config.data.filter.least_bytes, 1 by config.data.filter.matches_not" in said
    with pytest.raises(UserError, match=r"config\.data\.filter: leaves none of 4"):
        sides_of(given, filter=Filter(matches="nowhere"))
    with pytest.raises(UserError, match="no regular expression"):
        Filter(matches="(")


@pytest.mark.parametrize(
    ("duplicates", "out"), [(Keep(), []), (Exact(), [1, 3, 4]), (Near(), [1, 2, 3, 4, 5])]
)
def test_copies_leave_training_and_never_what_is_judged(duplicates, out, capsys):
    train = [
        essay(0),
        essay(0).replace(" ", "\n "),  # 1: an earlier one, spaced otherwise
        essay(0, changed=1),  # 2: one shingle of 196 is another
        essay(1),  # 3: held out too
        essay(2),  # 4: in the test too
        essay(3, changed=1),  # 5: nearly held out
        *map(essay, range(10, 40)),
    ]
    judged = {"heldout": [essay(1), essay(1), essay(3)], "test": [essay(2)]}
    found = scanned(documents(train=train, **judged), duplicates=duplicates)
    assert np.flatnonzero(found.sides == LEFT_OUT).tolist() == out
    assert found.leaked == (2 if isinstance(duplicates, Keep) else 0)
    said = capsys.readouterr().err
    assert ("2 exact copies of held-out" in said) != isinstance(duplicates, Keep)


def test_training_text_that_is_all_held_out_is_refused():
    with pytest.raises(UserError, match=r"config\.data\.duplicates: all training documents"):
        sides_of(documents(train=["a"], heldout=["a"]), duplicates=Exact())


def test_few_training_documents_are_among_more_and_the_other_sides_stay(capsys):
    texts = documents(unstated=[f"text {number}" for number in range(50)])
    whole, more, few = (sides_of(texts, train_documents=count) for count in (None, 20, 5))
    trained = [
        {number for number, side in enumerate(sides) if side == "train"}
        for sides in (whole, more, few)
    ]
    assert trained[2] < trained[1] < trained[0]
    assert [len(numbers) for numbers in trained[1:]] == [20, 5]
    assert all(more[number] == side for number, side in enumerate(whole) if side == "heldout")
    words = f"{len(trained[0]) - 20} training documents beyond config.data.train_documents"
    assert words in capsys.readouterr().err


def test_more_training_documents_than_there_are_are_refused():
    texts = documents(unstated=[str(number) for number in range(9)])
    with pytest.raises(UserError, match=r"data\.train_documents: 1,000 are asked for"):
        sides_of(texts, train_documents=1000)
    with pytest.raises(UserError, match=r"data\.train_documents: chooses whole documents"):
        sides_of(documents(unstated=["alone"]), train_documents=1)
