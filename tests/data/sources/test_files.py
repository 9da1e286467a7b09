"""Every format, packing and way to name files gives the same documents; bad input is one line."""

import errno
import json
import os

import pytest

from lm_lab.data.sources import files
from lm_lab.schema import build
from lm_lab.types import UserError

ROWS = [
    {"text": "하나", "other": "one", "label": 1},
    {"text": "두 번째", "other": "two", "label": 0},
    {"text": "셋", "other": "three", "label": 2},
]
TEXTS = [row["text"] for row in ROWS]
FORMATS = ["a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.arrow", "a.array_record"]
PACKED = [
    f"a.{kind}{suffix}" for kind in ("jsonl", "tsv", "txt") for suffix in (".gz", ".xz", ".zst")
]


def config(path, **settings):
    return build(files.Config, {"path": path, **settings}, "config.data.source")


def read(path, **settings):
    given = [str(each) for each in path] if isinstance(path, list) else str(path)
    return list(files.documents(config(given, **settings)))


def texts(path, **settings):
    return [document.text for document in read(path, **settings)]


@pytest.mark.parametrize("name", [*FORMATS, *PACKED])
def test_every_format_and_packing_gives_the_same_texts(tmp_path, write_records, name):
    write_records(tmp_path / name, ROWS)
    extra = {"json": True} if "array" in name else {"format": "lines"} if "txt" in name else {}
    assert texts(tmp_path / name, **extra) == TEXTS


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (
            {"text": "text", "label": "label"},
            [("하나", None, 1.0, None), ("두 번째", None, 0.0, None)],
        ),
        ({"source": "text", "target": "other"}, [("하나", "one", None, None)]),
        ({"prompt": "other", "response": "text"}, [("one", "하나", None, None)]),
        (
            {"prompt": "other", "chosen": "text", "rejected": "other"},
            [("one", "하나", None, "one")],
        ),
        ({"chosen": "text", "rejected": "other"}, [("", "하나", None, "one")]),
        ({"text": ["text", "other"]}, [("하나\none", None, None, None)]),
    ],
)
def test_fields_are_read_by_name(tmp_path, write_records, name, named, expected):
    write_records(tmp_path / name, ROWS)
    found = read(tmp_path / name, **named, json=True)
    assert [(d.text, d.target, d.label, d.rejected) for d in found][: len(expected)] == expected


@pytest.mark.parametrize(
    ("named", "form"),
    [
        ({}, "stream"),
        ({"label": "label"}, "labelled"),
        ({"source": "a", "target": "b"}, "pairs"),
        ({"prompt": "a", "response": "b"}, "pairs"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preferences"),
    ],
)
def test_the_fields_decide_what_it_provides(named, form):
    assert files.SOURCE.form(config("a", **named)) == form


def test_a_group_is_read_of_each_record_and_decides_the_fingerprint(tmp_path):
    rows = [{"text": "a", "author": 7}, {"text": "b", "author": "x"}, {"text": "c", "author": None}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = str(path)
    assert [document.group for document in files.documents(config(path, group="author"))] == [
        "7",
        "x",
        None,
    ]
    assert files.fingerprint(config(path)) != files.fingerprint(config(path, group="author"))
    with pytest.raises(UserError, match=r"source\.group: .*a\.jsonl:1 has no field 'editor'"):
        list(files.documents(config(path, group="editor")))


def test_files_folders_globs_and_lists(tmp_path, write_records):
    for name in ("b/z.jsonl", "b/a.jsonl", "c.jsonl", "b/_hidden.jsonl", "b/.cache.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_records(tmp_path / name, [{"text": name}])
    ordered = ["b/a.jsonl", "b/z.jsonl", "c.jsonl"]
    assert texts(tmp_path) == ordered
    assert texts(tmp_path / "**" / "[az].jsonl") == ordered[:2]
    assert [d.name for d in read(tmp_path / "b" / "*z.jsonl")] == ["z.jsonl:1"]
    assert texts(tmp_path / "b" / "*.jsonl") == ["b/_hidden.jsonl", *ordered[:2]]
    assert texts(tmp_path / "b" / ".*.jsonl") == ["b/.cache.jsonl"]
    assert texts([tmp_path / "c.jsonl", tmp_path / "b"]) == ["c.jsonl", *ordered[:2]]
    (tmp_path / "d").mkdir()
    write_records(tmp_path / "d" / "c.jsonl", [{"text": "d"}])
    names = [d.name for d in read([tmp_path / "c.jsonl", tmp_path / "d" / "c.jsonl"])]
    assert names == ["0/c.jsonl:1", "1/c.jsonl:1"]


def test_sides_have_paths_of_their_own_and_the_limit_is_of_training(tmp_path, write_records):
    for name in ("train", "valid", "test"):
        write_records(tmp_path / f"{name}.jsonl", [{"text": f"{name}{n}"} for n in range(3)])
    paths = {
        f"{side}_path": str(tmp_path / f"{name}.jsonl")
        for side, name in (("heldout", "valid"), ("test", "test"))
    }
    found = [(d.text, d.split) for d in read(tmp_path / "train.jsonl", limit=1, **paths)]
    assert found[:2] == [("train0", "train"), ("valid0", "heldout")]
    assert len(found) == 7
    assert found[-1] == ("test2", "test")
    assert [d.split for d in read(tmp_path / "train.jsonl")] == [None] * 3


def test_quotes_headers_and_names_of_classes(tmp_path):
    (tmp_path / "a.csv").write_text('said,kind\n"two\nlines",good\n"a ""b""",bad\n\n')
    found = read(tmp_path / "a.csv", text="said", label="kind", classes=["bad", "good"])
    assert [(d.name, d.text, d.label) for d in found] == [
        ("a.csv:3", "two\nlines", 1.0),
        ("a.csv:4", 'a "b"', 0.0),
    ]
    (tmp_path / "a.tsv").write_text('an "odd\tx\nquote\ty\n')
    assert texts(tmp_path / "a.tsv", header=False, text="1") == ['an "odd', "quote"]
    (tmp_path / "b.tsv").write_text('a\tb\n"one\ttab"\ty\n')
    assert texts(tmp_path / "b.tsv", quotes=True, text="a") == ["one\ttab"]


def test_a_field_of_a_field(tmp_path, write_records):
    rows = [{"id": 1, "translation": {"en": "one", "ko": "하나"}}]
    for name in ("a.jsonl", "a.parquet"):
        write_records(tmp_path / name, rows)
        pair = read(tmp_path / name, source="translation.en", target="translation.ko")
        assert [(d.text, d.target) for d in pair] == [("one", "하나")]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.parquet"])
def test_bytes_that_are_no_utf8(tmp_path, name, capsys):
    lines = [b"fine", b"caf\xe9", b"last"]
    if name == "a.parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.table({"text": pa.array(lines)}), tmp_path / name)
    else:
        rows = {"a.jsonl": [b'{"text": "%s"}' % line for line in lines], "a.csv": [b"text", *lines]}
        (tmp_path / name).write_bytes(b"\n".join(rows.get(name, lines)))
    extra = {"format": "lines"} if name == "a.txt" else {}
    with pytest.raises(UserError, match=r"a\.\w+:\d is not UTF-8 \(byte 0xe9 at offset \d+\)"):
        texts(tmp_path / name, **extra)
    assert texts(tmp_path / name, **extra, errors="replace") == ["fine", "caf\ufffd", "last"]
    assert texts(tmp_path / name, **extra, errors="skip") == ["fine", "last"]
    said = capsys.readouterr().err
    assert "1 record has U+FFFD in place of bytes that are not UTF-8, first " in said
    assert "1 record is left out for bytes that are not UTF-8, first " in said


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_record_of_several_parts_that_are_no_utf8_counts_once(tmp_path, name, capsys):
    if name == "a.parquet":
        import pyarrow as pa
        from pyarrow import parquet

        cells = pa.array([b"\xe9", b"ok", b"\xe9"])
        parquet.write_table(pa.table({"text": cells, "label": cells}), tmp_path / name)
        fields = {"label": "label", "classes": ("\ufffd", "ok")}
    else:
        bad = b'"\xe9\n\xe9, b"\n'
        (tmp_path / name).write_bytes(b"text\n" + bad + b"ok\n" + bad + b'"\xe9\nb"\n"b\n\xe9"\n')
        fields = {}
    found = texts(tmp_path / name, **fields, errors="replace")
    assert texts(tmp_path / name, **{**fields, "errors": "skip"}) == ["ok"]
    said = capsys.readouterr().err
    assert f"{len(found) - 1} records have U+FFFD in place of" in said
    assert f"{len(found) - 1} records are left out for" in said


@pytest.mark.parametrize("name", [*FORMATS[3:], "a.jsonl.gz", "a.jsonl.xz", "a.jsonl.zst"])
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_damaged_files_are_named(tmp_path, write_records, name, damage):
    path = write_records(tmp_path / name, [{"text": f"{n} " * 50, "n": n} for n in range(999)])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"neither" * 99)
    with pytest.raises(
        UserError, match=rf"config\.data\.source\.path: cannot read .*{name}.*whole"
    ):
        texts(path, json=True)


@pytest.mark.parametrize(
    ("name", "content", "settings", "message"),
    [
        ("a.log", "x", {}, r"a\.log has none of the suffixes .*config\.data\.source\.format"),
        ("a.txt", "", {}, r"a\.txt' is empty"),
        ("a.txt", "x", {"format": "json"}, r"format: no format named 'json'; did you mean"),
        ("a.txt", "x", {"format": "this.module"}, r"format: no format named 'this\.module'"),
        (
            "a.txt",
            "x",
            {"text": "body"},
            r"a\.txt has no field 'body'; its fields: 'text'; if it has columns, set .*format=tsv",
        ),
        (
            "a.jsonl",
            '{"a": 1, "b": 2}',
            {},
            r"a\.jsonl:1 has no field 'text'; its fields: 'a', 'b'",
        ),
        ("a.jsonl", '{"text": 3}', {}, r"text: .*a\.jsonl:1: 'text' must be text, not 3"),
        ("a.jsonl", '{"text": ""}', {}, r"is empty"),
        ("a.jsonl", '{"text": "x", "y": "z"}', {"label": "y"}, r"a\.jsonl:1 has the label 'z'"),
        (
            "a.jsonl",
            '{"text": "x", "y": "z"}',
            {"label": "y", "classes": ["p", "q"]},
            r"a\.jsonl:1 has the label 'z'; the classes: p, q",
        ),
        (
            "a.jsonl",
            '{"a": "x", "b": null}',
            {"source": "a", "target": "b"},
            r"target: .*a\.jsonl:1 has an empty 'b'",
        ),
        ("a.csv", "x,y\n1,2", {}, r"a\.csv has no column 'text'; its columns: 'x', 'y'"),
        ("a.csv", "text,y\n1,2\n3\n", {}, r"a\.csv:3 has 1 columns, and the first line 2"),
        ("a.csv", 'text\n"open\n', {}, r"a\.csv:2 is no CSV \(unexpected end of data\)"),
        ("a.tsv", "x\n", {"header": False}, r"no column 'text'; the file has no header"),
    ],
)
def test_bad_input_is_one_line(tmp_path, name, content, settings, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        texts(tmp_path / name, **settings)
    assert "\n" not in str(caught.value)


def test_paths_that_lead_nowhere_or_outside(tmp_path, write_records):
    inside = tmp_path / "in"
    inside.mkdir()
    write_records(tmp_path / "secret.jsonl", [{"text": "x"}])
    for given, message in (
        (str(inside), r"no file below .* ends in "),
        (str(tmp_path / "*.csv"), r"no file matches"),
        (str(tmp_path / "absent"), r"no file or folder .*absent"),
        ([], r"is an empty list"),
        ("s3://bucket/a.jsonl", r"is an address; download it first"),
    ):
        with pytest.raises(UserError, match=message):
            list(files.documents(config(given)))
    (inside / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(
        UserError, match=r"link\.jsonl is a link to .*secret\.jsonl, outside of the"
    ):
        texts(inside)
    assert texts(inside / "link.jsonl") == ["x"]
    (inside / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "../secret.jsonl"}]})
    )
    with pytest.raises(UserError, match=r"names '\.\./secret\.jsonl', which is no file beside it"):
        texts(inside)
    (tmp_path / "a.csv").write_text("text\nx\n")
    (inside / "state.json").unlink()
    (inside / "link.jsonl").unlink()
    with pytest.raises(UserError, match=r"several formats \(csv, jsonl\)"):
        texts(tmp_path)
    assert texts(tmp_path, format="csv") == ["x"]


def test_a_folder_that_cannot_be_read_is_refused_and_a_hidden_one_left_alone(tmp_path, monkeypatch):
    for name in ("open", "closed", ".closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    scandir = os.scandir

    def guarded(path):  # root reads everything
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(UserError, match=r"path: cannot read .*/closed \(Permission denied\); mend"):
        texts(tmp_path)
    (tmp_path / "closed").rename(tmp_path / "_closed")
    assert texts(tmp_path) == ["open"]


def test_fields_that_do_not_go_together():
    with pytest.raises(UserError, match=r"the fields chosen, source do not go together"):
        config("a", source="x", chosen="y")
    with pytest.raises(UserError, match=r"classes are read with label"):
        config("a", classes=["x"])


def test_the_fingerprint_is_of_files_and_settings(tmp_path, write_records):
    path = write_records(tmp_path / "a.jsonl", ROWS)
    settings = [{}, {"text": "other"}, {"limit": 2}, {"test_path": str(path)}, {"errors": "skip"}]
    prints = [files.fingerprint(config(str(path), **each)) for each in settings]
    write_records(path, ROWS[:2])
    prints.append(files.fingerprint(config(str(path))))
    path.rename(tmp_path / "b.jsonl")
    prints.append(files.fingerprint(config(str(tmp_path / "b.jsonl"))))
    assert len(set(prints)) == len(settings) + 2


def test_columns_of_every_arrow_type_of_text(tmp_path):
    """Bytes, also in dictionaries and structs, and a struct that is null."""
    import pyarrow as pa
    from pyarrow import parquet

    stored = [text.encode() for text in TEXTS]
    columns = {
        "dictionary": pa.array(stored).dictionary_encode(),
        "view": pa.array(stored, pa.binary_view()),
        "large": pa.array(TEXTS, pa.large_string()),
        "inner": [{"ko": stored[0]}, {"ko": stored[1]}, {"ko": stored[2]}],
    }
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    for name in ("dictionary", "view", "large", "inner.ko"):
        assert texts(tmp_path / "a.parquet", text=name) == TEXTS
    parquet.write_table(pa.table({"inner": [None, {"ko": "셋"}]}), tmp_path / "null.parquet")
    assert texts(tmp_path / "null.parquet", text="inner.ko") == ["셋"]
    twice = pa.Table.from_arrays([pa.array(TEXTS)] * 2, ["text", "text"])
    parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(UserError, match=r"twice\.parquet has the column 'text' twice"):
        read(tmp_path / "twice.parquet")


def test_columns_by_number_and_blank_lines(tmp_path):
    (tmp_path / "a.csv").write_text("하나,1\n\n셋,2\n")
    assert texts(tmp_path / "a.csv", header=False, text=1) == ["하나", "셋"]  # as a shell gives it
    assert texts(tmp_path / "a.csv", header=False, text=[2, 1]) == ["1\n하나", "2\n셋"]
    (tmp_path / "one.csv").write_text("text\n하나\n\n셋\n\n\n")
    assert texts(tmp_path / "one.csv") == ["하나", "셋"]
    (tmp_path / "semicolons.csv").write_text("text;label\n하나;1\n")
    with pytest.raises(UserError, match=r"'text;label' has no comma; of tabs set"):
        read(tmp_path / "semicolons.csv")


def test_a_window_that_is_too_long_to_unpack(tmp_path):
    frame = bytes.fromhex("28b52ffd 00 90 190000") + b'"a"'  # a window of 2**28 bytes, 3 raw bytes
    (tmp_path / "a.jsonl.zst").write_bytes(frame)
    with pytest.raises(UserError, match=r"packed by zstd --long; unpack it with zstd -d --long=31"):
        read(tmp_path / "a.jsonl.zst")
