"""JSON lines, plain and compressed, and errors that name file and line."""

import gzip
import json

import pytest

from lm_lab.data.sources import jsonl
from lm_lab.types import UserError

LINES = [{"text": "하나", "n": 1}, {"text": "", "n": 2}, {"text": "two\nlines"}]


def read(path, field="text"):
    """Names and texts of the documents."""
    return [
        (document.name, document.text)
        for document in jsonl.documents(jsonl.Config(str(path), field))
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_one_document_a_line(tmp_path, name):
    data = "\n\n".join(json.dumps(line) for line in LINES).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert read(tmp_path) == [(f"{name}:1", "하나"), (f"{name}:5", "two\nlines")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": ', r"config\.data\.source\.path: .*a\.jsonl:2 is not JSON"),
        (
            b"[" * 100_000,
            r"config\.data\.source\.path: .*a\.jsonl:2 cannot be read \(maximum recursion",
        ),
        (
            b'{"n": %s}' % (b"9" * 5000),
            r"config\.data\.source\.path: .*a\.jsonl:2 cannot be read \(Exceeds the limit",
        ),
        (b'["text"]', r"config\.data\.source\.path: .*a\.jsonl:2 is not a JSON object"),
        (
            b'{"body": "x"}',
            r"config\.data\.source\.field: .*a\.jsonl:2 has no field 'text'; its fields: 'body'",
        ),
        (b"{}", r"config\.data\.source\.field: .*a\.jsonl:2 has no field 'text'; its fields: none"),
        (b'{"text": 3}', r"config\.data\.source\.field: .*a\.jsonl:2: 'text' must be text, not 3"),
        (
            b'{"text": "\xff"}',
            r"config\.data\.source\.path: .*a\.jsonl:2 is not UTF-8 \(byte 0xff at offset 10\)",
        ),
        (
            rb'{"text": "\ud83d"}',
            r"config\.data\.source\.path: .*a\.jsonl:2 has half of a surrogate pair",
        ),
    ],
)
def test_faulty_line_is_named(tmp_path, line, message):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "fine"}\n' + line + b"\n")
    with pytest.raises(UserError, match=message):
        read(tmp_path / "a.jsonl")


def test_empty_file(tmp_path):
    (tmp_path / "a.jsonl").touch()
    with pytest.raises(UserError, match=r"config\.data\.source\.path: .*is empty"):
        read(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    "data", [b"plain", gzip.compress(b'{"text": "x"}', mtime=0)[:-6]], ids=["plain", "cut"]
)
def test_broken_archive(tmp_path, data):
    (tmp_path / "a.jsonl.gz").write_bytes(data)
    with pytest.raises(UserError, match=r"config\.data\.source\.path: cannot read .*a\.jsonl\.gz"):
        read(tmp_path)


def test_fingerprint_follows_field_and_content(tmp_path):
    def fingerprint(field):
        return jsonl.fingerprint(jsonl.Config(str(tmp_path / "a.jsonl"), field))

    (tmp_path / "a.jsonl").write_text('{"text": "x", "body": "y"}')
    prints = {fingerprint("text"), fingerprint("body")}
    (tmp_path / "a.jsonl").write_text('{"text": "z", "body": "y"}')
    assert len(prints | {fingerprint("text")}) == 3
