"""A killed build resumes from the files on the disk, and ends in the same bytes."""

import json

import pytest

from lm_lab.data import encoding, spool, store, writing
from lm_lab.data.documents import Corpus
from lm_lab.data.sources import synthetic
from lm_lab.data.statistics import statistics
from lm_lab.data.tokenizers import byte, words
from lm_lab.types import Document, Encoder

CONFIG = synthetic.Config(documents=60, document_bytes=300)
CODEC = byte.make(byte.Config())


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A folder of stores in which a build was interrupted in the middle; documents encoded are
    counted from then on.
    """
    monkeypatch.setattr(encoding, "BATCH_BYTES", 1000)
    monkeypatch.setattr(writing, "CHECKPOINT_BYTES", 3000)
    note, noted = writing.StoreFiles.note, []

    def interrupted(files, documents):
        note(files, documents)
        noted.append(documents)
        if len(noted) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(writing.StoreFiles, "note", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.build(Corpus("synthetic", CONFIG), CODEC, tmp_path / "cache")
    monkeypatch.setattr(writing.StoreFiles, "note", note)
    (draft,) = (tmp_path / "cache").glob("*.building")
    return draft, noted[-1]


def counting(codec):
    """The tokenizer, and a list with the number of texts of each of its calls."""
    calls = []

    def encode_all(texts):
        calls.append(len(texts))
        return codec.encode_batch(texts)

    return codec._replace(encode=Encoder(codec.encode, encode_all)), calls


def sums(built):
    return built.manifest["files"], built.manifest["splits"], built.manifest["statistics"]


@pytest.mark.parametrize("damage", [None, "train.tokens", "journal.json"])
def test_what_is_on_the_disk_is_kept_unless_it_is_damaged(stopped, tmp_path, damage):
    draft, done = stopped
    with (draft / "train.tokens").open("ab") as file:
        file.write(b"written behind the last note")
    if damage is not None:
        data = bytearray((draft / damage).read_bytes())
        data[10] ^= 1
        (draft / damage).write_bytes(data)
    codec, calls = counting(CODEC)
    built = store.build(Corpus("synthetic", CONFIG), codec, tmp_path / "cache")
    assert sum(calls) == CONFIG.documents - (0 if damage else done)
    assert not draft.exists()
    assert not (built.path / "journal.json").exists()
    whole = store.build(Corpus("synthetic", CONFIG), CODEC, tmp_path / "other")
    assert sums(built) == sums(whole)


@pytest.mark.parametrize("room", [0, 2500, 2**32])
def test_what_the_spool_has_no_room_for_is_read_again(stopped, tmp_path, monkeypatch, room):
    """Also where a killed build goes on in the middle."""
    _, done = stopped
    monkeypatch.setattr(spool, "BLOCK_DOCUMENTS", 7)
    monkeypatch.setattr(spool, "MOST_BYTES", room)
    codec, calls = counting(CODEC)
    built = store.build(Corpus("synthetic", CONFIG), codec, tmp_path / "cache")
    assert sum(calls) == CONFIG.documents - done
    whole = store.build(Corpus("synthetic", CONFIG), CODEC, tmp_path / "other")
    assert sums(built) == sums(whole)


class Own(str):
    """A text of a source's own kind."""


def test_texts_of_another_kind_and_any_name_are_stored(tmp_path, monkeypatch):
    """The list of documents is JSON lines as json.dumps writes them."""
    documents = [Document(f'"{n}\\\n한\udc80', (str, Own)[n % 2](f"text {n}")) for n in range(9)]
    source = synthetic.SOURCE._replace(documents=lambda _: iter(documents))
    monkeypatch.setattr(synthetic, "SOURCE", source)
    monkeypatch.setattr(spool, "BLOCK_DOCUMENTS", 4)
    built = store.build(Corpus("synthetic", CONFIG), CODEC, tmp_path)
    lines = (built.path / "documents.jsonl").read_text().splitlines(keepends=True)
    assert lines == [json.dumps(json.loads(line)) + "\n" for line in lines]
    assert [json.loads(line)["name"] for line in lines] == [each.name for each in documents]


def test_another_build_leaves_it_there(stopped, tmp_path):
    draft, _ = stopped
    other = synthetic.Config(documents=3, document_bytes=300)
    store.build(Corpus("synthetic", other), CODEC, tmp_path / "cache")
    assert draft.exists()


def test_statistics_are_those_of_the_tokens(tmp_path):
    codec = words.make(words.Config(), words.learn(words.Config(), ["one two two one"]))
    ids = codec.encode("one one three")
    found = statistics([ids[:2], ids[2:]], codec)
    assert found.tokens == 2 + len("three ")
    assert found.bytes == len("one one three") + 1
    assert (found.unknown_tokens, found.unknown_bytes) == (6, 6)
    assert found.ids == 1 + len(set("three "))
