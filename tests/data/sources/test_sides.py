"""Sources that read files: a file for each split, unchanged fingerprints, bytes that are not
UTF-8.
"""

import pytest

from lm_lab.data.documents import digest
from lm_lab.data.sources import jsonl, labelled, pairs, text
from lm_lab.types import UserError

CONTENTS = {
    text: ("a.txt", b"%s"),
    jsonl: ("a.jsonl", b'{"text": "%s"}\n'),
    labelled: ("a.tsv", b"%s\t1\n"),
    pairs: ("a.tsv", b"%s\ttarget\n"),
}
SOURCES = pytest.mark.parametrize("source", CONTENTS, ids=lambda module: module.__name__[-8:])


@pytest.fixture
def written(tmp_path):
    """written(source, side, word): the path of a file of the side, with a document of the word."""

    def write(source, side, word):
        name, content = CONTENTS[source]
        path = tmp_path / side / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content % word)
        return str(path)

    return write


@SOURCES
def test_every_side_has_a_file(source, written):
    paths = {
        key: written(source, key, key.encode()) for key in ("path", "heldout_path", "test_path")
    }
    found = [(d.text, d.split) for d in source.documents(source.Config(**paths))]
    assert found == [("path", "train"), ("heldout_path", "heldout"), ("test_path", "test")]
    del paths["heldout_path"]
    found = [(d.text, d.split) for d in source.documents(source.Config(**paths))]
    assert found == [("path", None), ("test_path", "test")]


@SOURCES
def test_the_fingerprint_of_a_single_file_is_as_ever(source, written):
    """Token stores are named by the fingerprint."""
    config = source.Config(written(source, "one", b"word"))
    name, content = CONTENTS[source]
    names = {labelled: "path", pairs: "path0"}
    how = {
        text: ["text"],
        jsonl: ["jsonl", "text"],
        labelled: ["labelled", repr(("tabs", ("1",), "2", False))],
        pairs: ["pairs", repr(("tabs", None, ("1", "2"), False, "none", "given"))],
    }
    contents = digest([names.get(source, name), content % b"word"])
    assert source.fingerprint(config) == digest([*how[source], contents])


@SOURCES
def test_bytes_that_are_no_utf8_are_replaced_or_skipped(source, written, capsys):
    path = written(source, "one", b"caf\xe9")
    read = source.documents(source.Config(path, errors="replace"))
    assert [document.text for document in read] == ["caf\ufffd"]
    more = written(source, "two", b"fine")
    found = list(source.documents(source.Config(more, test_path=more, errors="skip")))
    assert [document.text for document in found] == ["fine", "fine"]
    with pytest.raises(UserError, match=r"holds no text that is UTF-8, .*set that to replace"):
        list(source.documents(source.Config(path, errors="skip")))
    prints = {
        source.fingerprint(source.Config(path, errors=errors)) for errors in ("refuse", "replace")
    }
    assert len(prints) == 2
    assert "1 record has U+FFFD" in capsys.readouterr().err
