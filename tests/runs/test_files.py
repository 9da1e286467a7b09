import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lm_lab.runs import files
from lm_lab.runs.files import (
    Damaged,
    Lock,
    atomic_write,
    prepare_workdir,
    read_seal,
    seal,
    verify_seal,
)
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

    monkeypatch.setattr(files.os, "fsync", full)
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
        UserError, match=r"file/run: cannot write there: Not a directory; .*--workdir"
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


def test_a_second_lock_names_the_holder(tmp_path):
    message = rf"{tmp_path} is in use by pid {os.getpid()} on \S+; .*--workdir"
    with Lock(tmp_path / "lock"), pytest.raises(UserError, match=message):
        Lock(tmp_path / "lock").__enter__()
    with Lock(tmp_path / "lock"):
        pass


@pytest.mark.processes
def test_a_lock_dies_with_its_holder(tmp_path):
    script = (
        "import sys; from pathlib import Path; from lm_lab.runs.files import Lock\n"
        "with Lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"in use by pid {holder.pid} on "):
            Lock(tmp_path / "lock").__enter__()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with Lock(tmp_path / "lock"):
        pass


def sealed(folder: Path) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "one").write_bytes(bytes(range(256)))
    (folder / "deep" / "two").write_bytes(b"")
    seal(folder, {"step": 3, "note": "é", "ratio": 0.1})
    return folder


def test_a_seal_gives_its_fields_back(tmp_path):
    content = verify_seal(sealed(tmp_path / "a"))
    assert {name: content[name] for name in ("step", "note", "ratio")} == {
        "step": 3,
        "note": "é",
        "ratio": 0.1,
    }
    assert set(content["files"]) == {"one", "deep/two"}


@pytest.mark.parametrize("name", ["one", "manifest.json"])
def test_a_seal_breaks_with_any_bit(tmp_path, name):
    folder = sealed(tmp_path / "a")
    path = folder / name
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        with pytest.raises(Damaged, match=name):
            verify_seal(folder)
    path.write_bytes(whole)
    verify_seal(folder)


def test_a_seal_breaks_with_a_missing_or_shortened_file(tmp_path):
    folder = sealed(tmp_path / "a")
    (folder / "one").write_bytes(bytes(range(255)))
    with pytest.raises(Damaged, match="one: 255 bytes instead of 256"):
        verify_seal(folder)
    (folder / "one").unlink()
    with pytest.raises(Damaged, match="one: No such file"):
        verify_seal(folder)
    for content in ("", "[]", "3", "{}", '{"sha256": "0"}'):
        (folder / "manifest.json").write_text(content)
        with pytest.raises(Damaged):
            read_seal(folder)
