"""Texts that are given to `lm-lab evaluate`: what is none is one line,
before anything is computed.
"""

import os

import pytest

from lm_lab.cli import evaluate
from lm_lab.types import UserError


@pytest.fixture
def places(tmp_path):
    """Things of every kind that a name may lead to."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "latin").write_bytes("naïve".encode("latin-1"))
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "text").write_text("naïve\r\n\0")
    return tmp_path


@pytest.mark.parametrize(
    "name, message",
    [
        ("nowhere", "no such file; name a text file"),
        ("folder", "it is no plain file; name a text file"),
        ("fifo", "it is no plain file; name a text file"),
        ("loop", "name a text file"),
        ("a\0b", "no such file; name a text file"),
        ("empty", "is empty; name a file with text"),
        ("latin", "is not UTF-8 (at byte 2); convert it with iconv -t UTF-8"),
    ],
)
def test_what_is_no_text_is_one_line(places, name, message):
    with pytest.raises(UserError) as caught:
        evaluate.run([f"--workdir={places}", f"--text={places / name}"])
    assert str(caught.value).startswith("--text=")
    assert message in str(caught.value)


def test_a_home_of_nobody_is_one_line(places):
    with pytest.raises(
        UserError, match="--text=~nobody_is_named_so/a: nobody has that home directory"
    ):
        evaluate.run([f"--workdir={places}", "--text=~nobody_is_named_so/a"])


def test_a_text_is_read_as_it_is(places):
    assert evaluate.text_of(str(places / "text")) == "naïve\r\n\0"
