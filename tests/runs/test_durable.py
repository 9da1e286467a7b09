import errno
import os
from pathlib import Path

import pytest

from lm_lab.runs import durable
from lm_lab.runs.durable import atomic_write, new_folder, prepare_workdir
from lm_lab.types import UserError


def test_atomic_write_replaces_text_and_bytes(tmp_path):
    path = tmp_path / "a.txt"
    atomic_write(path, "하나\n")
    assert path.read_text(encoding="utf-8") == "하나\n"
    atomic_write(path, b"\0two")
    assert path.read_bytes() == b"\0two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    atomic_write(path, "old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(
        UserError, match=r"a\.txt: cannot write: No space left on device; free some space"
    ):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_prepare_workdir_makes_parents_and_leaves_nothing_else(tmp_path):
    prepare_workdir(tmp_path / "a" / "b")
    prepare_workdir(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs the names of open files")
def test_the_names_of_parents_that_are_made_are_on_the_disk(tmp_path, monkeypatch):
    synced, fsync = set(), os.fsync

    def note(descriptor):
        fsync(descriptor)
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", note)
    prepare_workdir(tmp_path / "a" / "b" / "c")
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= synced


def test_a_workdir_below_a_file_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        UserError, match=r"file/run: cannot write there: Not a directory; .*another directory"
    ):
        prepare_workdir(tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "x"


def test_an_unwritable_workdir_is_a_user_error(tmp_path):
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write anywhere")
    for path in (tmp_path, tmp_path / "below"):
        with pytest.raises(UserError, match="cannot write there: Permission denied"):
            prepare_workdir(path)
    tmp_path.chmod(0o700)


def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path):
    draft, folder = tmp_path / "draft", tmp_path / "folder"
    draft.mkdir()
    (draft / "left by a kill").touch()

    def fail():
        with new_folder(folder, draft):
            draft.mkdir()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with new_folder(folder, draft):
        draft.mkdir()
        (draft / "file").touch()
        assert not folder.exists()
    assert list(tmp_path.rglob("*")) == [folder, folder / "file"]
