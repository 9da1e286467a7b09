"""Files are hashed once, and again when they have changed."""

import os
import time

import pytest

from lm_lab.data import digests
from lm_lab.data.documents import digest
from lm_lab.types import UserError


@pytest.fixture
def hashed(tmp_path, monkeypatch):
    """(path, times): a file of an hour ago, and how often its digest is computed."""
    monkeypatch.setenv("LM_LAB_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.txt"
    path.write_text("one")
    past = time.time() - 3600
    os.utime(path, (past, past))
    monkeypatch.setattr(digests, "SETTLED_SECONDS", -60.0)  # ctime cannot be set back
    times, inner = [], digests._hash
    monkeypatch.setattr(digests, "_hash", lambda *given: times.append(1) or inner(*given))
    return path, times


def of(path):
    return digests.of_files([("a", path)], "kind")


def test_the_digest_is_that_of_names_and_contents(hashed):
    assert of(hashed[0]) == digest(["kind", digest(["a", b"one"])])


def test_a_file_is_hashed_once_and_again_when_it_changes(hashed, monkeypatch):
    path, times = hashed
    first = [of(path) for _ in range(3)]
    assert len(times) == 1
    time.sleep(0.02)  # the clock of a file system has ticks of some milliseconds
    path.write_text("two")
    assert of(path) != first[0]
    assert len(set(first)) == 1
    assert len(times) == 2
    monkeypatch.setenv("LM_LAB_VERIFY", "1")
    assert of(path) != first[0]
    assert len(times) == 3


def test_a_file_that_just_changed_is_hashed_each_time(hashed, monkeypatch):
    path, times = hashed
    monkeypatch.setattr(digests, "SETTLED_SECONDS", 60.0)
    assert len({of(path) for _ in range(2)}) == 1
    assert len(times) == 2


def test_a_damaged_note_and_a_cache_of_others_cost_a_hash(hashed, tmp_path, monkeypatch):
    path, times = hashed
    expected = of(path)
    for note in (tmp_path / "cache" / "digests").iterdir():
        note.write_text("[")
    assert of(path) == expected
    monkeypatch.setenv("LM_LAB_CACHE", "/proc/none")
    assert of(path) == expected
    assert len(times) == 3


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        UserError, match=r"config\.data\.source\.path: cannot read .*none \(No such"
    ):
        of(tmp_path / "none")
