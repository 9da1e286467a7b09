"""A store's files are hashed once, and again when they have changed; a user without the right to
write reads them all the same.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from lm_lab.data import checking
from lm_lab.runs import sealed
from lm_lab.runs.sealed import Damaged, FileSum

CONTENT = {"train.tokens": b"a" * 5000, "bytes_of.u16": b"b" * 10}


@pytest.fixture
def place(tmp_path):
    """A store of two files."""
    folder = tmp_path / "key"
    folder.mkdir()
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def files():
    """The entries of the files in the manifest."""
    return {
        name: FileSum(len(data), hashlib.sha256(data).hexdigest()) for name, data in CONTENT.items()
    }


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that are hashed, as they come."""
    names, original = [], sealed.sha256_of
    monkeypatch.setattr(
        sealed, "sha256_of", lambda path, bar: [names.append(path.name), original(path, bar)][1]
    )
    return names


def test_hashed_once_however_many_ask(place, files, hashed):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: checking.verify_once(place, files), range(8)))
    assert hashed == list(CONTENT)


def test_hashed_again_when_a_file_or_the_manifest_has_changed(place, files, hashed):
    checking.verify_once(place, files)
    os.utime(place / "train.tokens", ns=(1, 1))
    checking.verify_once(place, files)
    assert hashed == 2 * list(CONTENT)
    files["train.tokens"] = files["train.tokens"]._replace(sha256="0" * 64)
    with pytest.raises(Damaged, match=r"train\.tokens: SHA-256 differs"):
        checking.verify_once(place, files)


def test_what_was_damaged_is_refused_each_time(place, files, hashed):
    (place / "train.tokens").write_bytes(b"a" * 4999 + b"b")
    for _ in range(2):
        with pytest.raises(Damaged, match=r"train\.tokens: SHA-256 differs"):
            checking.verify_once(place, files)


def test_a_cache_that_cannot_be_written_is_read(place, files, hashed, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checking.durable, "replace", refuse)
    monkeypatch.setattr(checking.fcntl, "flock", refuse)
    for _ in range(2):
        checking.verify_once(place, files)
    assert hashed == 2 * list(CONTENT)


def test_a_pipe_in_place_of_a_file_is_refused(place, files):
    (place / "train.tokens").unlink()
    os.mkfifo(place / "train.tokens")
    files["train.tokens"] = files["train.tokens"]._replace(size=0)
    with pytest.raises(Damaged, match="pipe or a device"):
        checking.verify_once(place, files)


def test_all_files_are_hashed_again_on_demand(place, files, hashed, monkeypatch):
    checking.verify_once(place, files)
    state = (place / "train.tokens").stat()
    (place / "train.tokens").write_bytes(b"a" * 4999 + b"b")
    os.utime(place / "train.tokens", ns=(state.st_atime_ns, state.st_mtime_ns))
    checking.verify_once(place, files)  # size and time are as before
    monkeypatch.setenv("LM_LAB_VERIFY", "1")
    with pytest.raises(Damaged, match=r"train\.tokens: SHA-256 differs"):
        checking.verify_once(place, files)
