"""The token store: keyed by content, split by document, built once, by the first process, whole or
not at all.
"""

import hashlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from lm_lab.data import spool, store
from lm_lab.data.documents import Corpus
from lm_lab.data.sources import synthetic, text
from lm_lab.data.tokenizers import byte
from lm_lab.types import UserError
from tests import forked

TOKENIZER = byte.make(byte.Config())


@pytest.fixture
def corpus(tmp_path):
    """A folder of 40 different texts, some of them Korean."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02d}.txt").write_text(
            f"document {number}: 안녕하세요 " * (number + 1), encoding="utf-8"
        )
    return text.Config(str(folder))


def texts(tokens):
    """The documents of a stream, as text."""
    ends = np.flatnonzero(tokens == TOKENIZER.end_of_document)
    assert ends[-1] == len(tokens) - 1
    return [TOKENIZER.decode(part) for part in np.split(tokens, ends + 1)[:-1]]


def test_splits_hold_every_document_once_and_whole(corpus, tmp_path):
    built = store.build(Corpus("text", corpus), TOKENIZER, tmp_path / "cache", holdout_fraction=0.3)
    train, heldout = texts(built.train), texts(built.heldout)
    assert sorted(train + heldout) == sorted(document.text for document in text.documents(corpus))
    assert not set(train) & set(heldout)
    assert 2 <= len(heldout) <= 25


def test_split_ignores_names_order_and_other_documents(corpus, tmp_path):
    before = texts(
        store.build(
            Corpus("text", corpus), TOKENIZER, tmp_path / "cache", holdout_fraction=0.3
        ).heldout
    )
    folder = Path(corpus.path)
    for number in range(0, 40, 3):
        (folder / f"{number:02d}.txt").unlink()
    for file in list(folder.iterdir()):
        file.rename(folder / f"renamed-{file.name}")
    after = texts(
        store.build(
            Corpus("text", corpus), TOKENIZER, tmp_path / "cache", holdout_fraction=0.3
        ).heldout
    )
    assert set(after) == {held for held in before if int(held.split(":")[0].split()[1]) % 3}


@pytest.mark.parametrize("fraction", [0.0001, 0.9])
def test_each_side_gets_a_document(tmp_path, fraction):
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "b.txt").write_text("second")
    built = store.build(
        Corpus("text", text.Config(str(tmp_path))),
        TOKENIZER,
        tmp_path / "cache",
        holdout_fraction=fraction,
    )
    assert sorted(texts(built.train) + texts(built.heldout)) == ["first", "second"]
    assert len(texts(built.train)) == 1


def test_copies_of_a_text_lie_on_one_side(tmp_path):
    for number in range(60):
        (tmp_path / f"{number}.txt").write_text(f"text {number % 20}")
    built = store.build(
        Corpus("text", text.Config(str(tmp_path))),
        TOKENIZER,
        tmp_path / "cache",
        holdout_fraction=0.5,
    )
    assert not set(texts(built.train)) & set(texts(built.heldout))


def test_tail_is_cut_as_nanogpt_cuts(tmp_path):
    (tmp_path / "one.txt").write_text("0123456789" * 10 + "abcde")
    config = text.Config(str(tmp_path / "one.txt"))
    built = store.build(
        Corpus("text", config), TOKENIZER, tmp_path / "cache", split="tail", holdout_fraction=0.1
    )
    assert len(built.train) == int(0.9 * 105)
    assert (
        TOKENIZER.decode(np.concatenate([built.train, built.heldout]))
        == "0123456789" * 10 + "abcde"
    )
    assert built.heldout[-1] == TOKENIZER.end_of_document


def test_copies_of_one_text_cannot_be_split_by_document(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("all in one")
    with pytest.raises(UserError, match=r"config\.data\.split.*'tail'"):
        store.build(Corpus("text", text.Config(str(tmp_path))), TOKENIZER, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.building"))


def test_text_too_short_for_a_tail(tmp_path):
    (tmp_path / "one.txt").write_text("a")
    with pytest.raises(UserError, match=r"config\.data\.holdout_fraction.*more text"):
        store.build(
            Corpus("text", text.Config(str(tmp_path / "one.txt"))),
            TOKENIZER,
            tmp_path / "cache",
            split="tail",
        )


def test_manifest_describes_the_files(corpus, tmp_path):
    built = store.build(Corpus("text", corpus), TOKENIZER, tmp_path / "cache")
    manifest = json.loads((built.path / "manifest.json").read_text())
    assert set(manifest["files"]) == {file.name for file in built.path.iterdir()} - {
        "manifest.json"
    }
    for name, entry in manifest["files"].items():
        data = (built.path / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    listing = [
        json.loads(line) for line in (built.path / "documents.jsonl").read_text().splitlines()
    ]
    assert manifest["bytes"] == sum(line["bytes"] for line in listing)
    assert manifest["bytes"] == sum(
        int(built.bytes_of[part].sum()) for part in (built.train, built.heldout)
    )
    for line in listing:
        part = built.train if line["file"] == "train.tokens" else built.heldout
        found = TOKENIZER.decode(part[line["offset"] : line["offset"] + line["tokens"]])
        assert found == (Path(corpus.path) / line["name"]).read_text(encoding="utf-8")
        assert line["sha256"] == hashlib.sha256(found.encode()).hexdigest()


def test_the_held_out_text_is_the_same_by_any_tokenizer(corpus, tmp_path):
    other = TOKENIZER._replace(identity="other")

    def heldout(tokenizer=TOKENIZER, **settings):
        built = store.build(Corpus("text", corpus), tokenizer, tmp_path / "cache", **settings)
        return store.heldout_text(built.path)

    assert heldout() == heldout(other)
    several = [heldout(), heldout(holdout_fraction=0.5), heldout(split="tail")]
    assert len({*several, heldout(split="tail", holdout_fraction=0.5)}) == 4


def test_built_once(corpus, tmp_path, monkeypatch):
    first = store.build(Corpus("text", corpus), TOKENIZER, tmp_path / "cache")
    monkeypatch.setattr(text, "SOURCE", text.SOURCE._replace(documents=lambda config: 1 / 0))
    second = store.build(Corpus("text", corpus), TOKENIZER, tmp_path / "cache")
    assert first.key == second.key
    np.testing.assert_array_equal(first.train, second.train)


def test_another_text_tokenizer_or_split_is_another_store(corpus, tmp_path):
    def key(tokenizer=TOKENIZER, **settings):
        return store.build(Corpus("text", corpus), tokenizer, tmp_path / "cache", **settings).key

    keys = [
        key(),
        key(TOKENIZER._replace(identity="other")),
        key(holdout_fraction=0.2),
        key(split="tail"),
    ]
    file = Path(corpus.path) / "07.txt"
    stamp = file.stat()
    file.write_text(file.read_text(encoding="utf-8").replace("7", "8"), encoding="utf-8")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    keys.append(key())  # of the same size and time
    file.rename(file.with_name("another.txt"))
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_text_that_changes_while_it_is_read_is_refused(corpus, tmp_path, monkeypatch):
    prints = iter(["before", "after"])
    restless = text.SOURCE._replace(fingerprint=lambda config: next(prints))
    monkeypatch.setattr(text, "SOURCE", restless)
    with pytest.raises(UserError, match=r"changed while it was read; run again"):
        store.build(Corpus("text", corpus), TOKENIZER, tmp_path / "cache")
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".lock"]


def test_document_that_differs_at_the_second_reading_is_refused(corpus, tmp_path, monkeypatch):
    """It is one that the temporary file of the first reading has no room for."""
    monkeypatch.setattr(spool, "BLOCK_DOCUMENTS", 7)
    monkeypatch.setattr(spool, "MOST_BYTES", 1)
    readings, original = iter(["", "more"]), text.documents

    def restless(config):
        extra = next(readings)
        return (document._replace(text=document.text + extra) for document in original(config))

    monkeypatch.setattr(text, "SOURCE", text.SOURCE._replace(documents=restless))
    with pytest.raises(UserError, match=r"07\.txt changed while it was read"):
        store.build(Corpus("text", corpus), TOKENIZER, tmp_path / "cache")


def test_a_store_under_the_name_of_another_is_refused(corpus, tmp_path):
    """As one that was copied or renamed: of another tokenizer, text, or split."""

    def built(tokenizer):
        return store.build(Corpus("text", corpus), tokenizer, tmp_path / "cache").path

    other = TOKENIZER._replace(identity="other")
    name, misnamed = built(TOKENIZER), built(other)
    shutil.rmtree(misnamed)
    name.rename(misnamed)
    with pytest.raises(UserError, match=r"is of another tokenizer \(.*'other' is asked for\)"):
        built(other)


def flip_a_bit(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("damage", ["cut", "lost", "manifest", "flipped", "flipped digit"])
def test_damage_is_seen(corpus, tmp_path, damage):
    path = store.build(Corpus("text", corpus), TOKENIZER, tmp_path / "cache").path
    if damage == "flipped":
        flip_a_bit(path / "train.tokens", 100)
    elif damage == "flipped digit":
        flip_a_bit(
            path / "manifest.json",
            (path / "manifest.json").read_text().index('"stop": ') + len('"stop": '),
        )
    elif damage == "cut":
        os.truncate(path / "train.tokens", 10)
    elif damage == "lost":
        (path / "heldout.tokens").unlink()
    else:
        (path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=rf"{path.name}.*delete it and run again"):
        store.build(Corpus("text", corpus), TOKENIZER, tmp_path / "cache")


def test_cache_that_cannot_be_written(corpus, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LM_LAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write the token store.*LM_LAB_CACHE"):
        store.build(Corpus("text", corpus), TOKENIZER)


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LM_LAB_CACHE", raising=False)
    assert store.cache_directory() == Path("/home/someone/.cache/lm_lab/tokens")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert store.cache_directory() == Path("/caches/lm_lab/tokens")
    monkeypatch.setenv("LM_LAB_CACHE", "/own")
    assert store.cache_directory() == Path("/own/tokens")


def test_unknown_source_has_a_suggestion(tmp_path):
    with pytest.raises(UserError, match=r"config\.data\.source.*did you mean 'stdlib'"):
        store.build(Corpus("stdlb", None), TOKENIZER, tmp_path)


SLOW_SOURCE = """
import time
from pathlib import Path
from lm_lab.data.sources.synthetic import SOURCE as SYNTHETIC
def documents(config):
    with Path(__file__).with_name("builds").open("a") as file:
        file.write("x")
    for document in SYNTHETIC.documents(config):
        time.sleep({pause})
        yield document
SOURCE = SYNTHETIC._replace(documents=documents)
"""

BUILDER = """
import sys
from pathlib import Path
from lm_lab.data import spool, store
from lm_lab.data.documents import Corpus
from lm_lab.data.sources import synthetic
from lm_lab.data.tokenizers import byte
sys.path.append(sys.argv[2])  # where the slow source is
config = synthetic.Config(documents=40, document_bytes=64)
built = store.build(Corpus("slow.source", config), byte.make(byte.Config()), Path(sys.argv[1]))
print(built.key, len(built.train), flush=True)
"""


@pytest.fixture
def builders(tmp_path):
    """Starts processes that build one store from a source that rests `pause` seconds before a
    document.
    """
    started = []

    def start(pause):
        package = tmp_path / "slow"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
        draft = package / "draft"  # another builder may import the file at this moment
        draft.write_text(SLOW_SOURCE.format(pause=pause))
        draft.replace(package / "source.py")
        started.append(forked.fork("-c", BUILDER, str(tmp_path / "cache"), str(tmp_path)))
        return started[-1]

    yield start
    for process in started:
        with process:
            process.send_signal(signal.SIGKILL)


def finish(process):
    """The output of a builder that succeeds."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


@pytest.mark.processes
def test_processes_that_build_at_once_build_once(builders, tmp_path):
    outputs = {finish(process) for process in [builders(0.02) for _ in range(3)]}
    assert len(outputs) == 1
    assert (tmp_path / "slow" / "builds").read_text() == "x"  # read by one of them, once


@pytest.mark.processes
@pytest.mark.parametrize("moment", [0.0, 0.5])
def test_killed_while_building(builders, tmp_path, moment):
    killed = builders(0.02)
    while not list((tmp_path / "cache").glob("*.building")):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.005)
    time.sleep(moment)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert list((tmp_path / "cache").glob("*.building"))
    key, tokens = finish(builders(0)).split()
    assert {file.name for file in (tmp_path / "cache").iterdir()} == {
        key,
        f"{key}.lock",
        f"{key}.checked",
    }
    whole = store.build(
        Corpus("synthetic", synthetic.Config(documents=40, document_bytes=64)),
        TOKENIZER,
        tmp_path / "other",
    )
    assert (key, int(tokens)) == (whole.key, len(whole.train))


@pytest.mark.processes
def test_leftovers_of_another_store_are_swept_unless_held(corpus, builders, tmp_path):
    living = builders(0.02)
    while not list((tmp_path / "cache").glob("*.building")):
        assert living.poll() is None, living.communicate()
        time.sleep(0.005)
    (tmp_path / "cache" / "dead.building").mkdir()
    store.build(Corpus("text", corpus), TOKENIZER, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*.building"))) == 1  # of the living one
    finish(living)
