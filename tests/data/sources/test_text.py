"""Text files and folders, and mistakes of users with them."""

import pytest

from lm_lab.data.sources import text
from lm_lab.types import UserError


def names(path, suffix=".txt"):
    """Names of the documents."""
    return [document.name for document in text.documents(text.Config(str(path), suffix))]


def test_one_file_whatever_its_suffix(tmp_path):
    (tmp_path / "notes.log").write_bytes("줄\r\n둘\n".encode())
    (only,) = text.documents(text.Config(str(tmp_path / "notes.log")))
    assert only[:2] == ("notes.log", "줄\r\n둘\n")


def test_folder_is_recursive_sorted_and_of_one_suffix(tmp_path):
    for name in ("b.txt", "a/z.txt", "a/b/c.txt", "a.md", "c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert names(tmp_path) == ["a/b/c.txt", "a/z.txt", "b.txt", "c.txt"]
    assert names(tmp_path, ".md") == ["a.md"]


def test_empty_files_in_a_folder_are_left_out(tmp_path):
    (tmp_path / "a.txt").touch()
    (tmp_path / "b.txt").write_text("text")
    assert names(tmp_path) == ["b.txt"]


@pytest.mark.parametrize("where", ["", "a.txt"])
def test_nothing_but_emptiness(tmp_path, where):
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match=r"config\.data\.source\.path: .*is empty.*give files"):
        names(tmp_path / where)


def test_missing_path(tmp_path):
    with pytest.raises(
        UserError,
        match=r"config\.data\.source\.path: no file or folder .*absent.*give an existing one",
    ):
        names(tmp_path / "absent")


def test_no_file_of_the_suffix(tmp_path):
    (tmp_path / "a.md").write_text("text")
    with pytest.raises(
        UserError, match=r"config\.data\.source\.path: no file below .* ends in \.txt"
    ):
        names(tmp_path)


def test_not_utf8_names_the_file_and_the_offset(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(
        UserError,
        match=r"config\.data\.source\.path: .*latin\.txt is not UTF-8 \(byte 0xe9 at offset 3\)",
    ):
        names(tmp_path)


def test_errors_are_one_line(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"\xff")
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError) as caught:
            names(path)
        assert "\n" not in str(caught.value)


def test_an_empty_path_is_not_the_folder_one_stands_in(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("text")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"config\.data\.source\.path: no file or folder ''"):
        names("")
