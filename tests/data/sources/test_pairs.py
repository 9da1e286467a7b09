"""Pairs from columns, aligned files and patterns; bad files answered in one line."""

import gzip

import pytest

from lm_lab.data.sources import pairs
from lm_lab.types import UserError


def read(config):
    return [
        (document.text, document.target, document.split) for document in pairs.documents(config)
    ]


def file(tmp_path, text, name="a.tsv"):
    (tmp_path / name).write_bytes(
        gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    )
    return str(tmp_path / name)


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz"])
def test_columns(tmp_path, name):
    path = file(tmp_path, 'x\ty\tz\r\nein "b\tzwei\tdrei\n\n', name)
    assert read(pairs.Config(path)) == [("x", "y", None), ('ein "b', "zwei", None)]
    assert read(pairs.Config(path, columns=("z", "1"), header=True)) == [("drei", 'ein "b', None)]


def test_commas_and_quotes(tmp_path):
    path = file(tmp_path, 'mr,ref\n"a, b","two\nlines"\n')
    config = pairs.Config(path, form="commas", columns=("mr", "ref"), header=True)
    assert read(config) == [("a, b", "two\nlines", None)]


def test_aligned_files_and_held_out_ones(tmp_path):
    one, other = file(tmp_path, "a\nb\n", "a.en"), file(tmp_path, "c\nd\n", "a.de.gz")
    config = pairs.Config(f"{one},{other}", f"{other},{one}", form="lines")
    assert read(config) == [
        ("a", "c", "train"),
        ("b", "d", "train"),
        ("c", "a", "heldout"),
        ("d", "b", "heldout"),
    ]


def test_a_pattern(tmp_path):
    path = file(tmp_path, "IN: jump twice OUT: I_JUMP I_JUMP\n")
    config = pairs.Config(path, form="lines", pattern="IN: (.*) OUT: (.*)")
    assert read(config) == [("jump twice", "I_JUMP I_JUMP", None)]


def test_spelling_and_normal_form(tmp_path):
    path = file(tmp_path, "가\tk a\n")
    assert read(pairs.Config(path, spell="source", unicode="NFD")) == [
        ("\u1100 \u1161", "k a", None)
    ]


def test_the_fingerprint_follows_contents_and_how_they_are_read(tmp_path):
    path = file(tmp_path, "x\ty\n")
    configs = [pairs.Config(path), pairs.Config(path, spell="target"), pairs.Config(path, path)]
    prints = [pairs.fingerprint(config) for config in configs]
    file(tmp_path, "x\tz\n")
    prints.append(pairs.fingerprint(pairs.Config(path)))
    assert len(set(prints)) == 4


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("x\ty\nonly\n", {}, r"a\.tsv:2 has 1 columns, not 2"),
        ("x\t \n", {}, r"a\.tsv:1 has an empty source or target"),
        ("", {}, r"a\.tsv' is empty"),
        (
            "x\ty\n",
            {"columns": ("q", "1"), "header": True},
            r"a\.tsv has no column 'q'; its columns: 'x', 'y'",
        ),
        ("x\ty\n", {"columns": ("q", "1")}, r"no header, give a number"),
        ("x\ty\n", {"form": "lines"}, r"'lines' needs two aligned files"),
        ("x\ty\n", {"form": "lines", "pattern": "IN: (.*) OUT: (.*)"}, r"a\.tsv:1 does not match"),
        ('"x,y\n', {"form": "commas"}, r"has 1 columns, not 2"),
    ],
)
def test_bad_files(tmp_path, text, settings, message):
    with pytest.raises(UserError, match=message):
        read(pairs.Config(file(tmp_path, text), **settings))


def test_files_that_are_missing_unequal_damaged_or_no_text(tmp_path):
    one, other = file(tmp_path, "a\nb\n", "a.en"), file(tmp_path, "c\n", "a.de")
    with pytest.raises(UserError, match=r"unequal numbers of lines \(.*a\.en 2, .*a\.de 1\)"):
        read(pairs.Config(f"{one},{other}", form="lines"))
    with pytest.raises(UserError, match=r"config\.data\.source\.heldout_path: no file 'none'"):
        read(pairs.Config(file(tmp_path, "a\tb\n"), "none"))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"a\tb\n" * 99)[:-9])
    with pytest.raises(UserError, match=r"cannot read .*cut\.gz \(Truncated"):
        read(pairs.Config(str(tmp_path / "cut.gz")))
    (tmp_path / "latin.tsv").write_bytes(b"caf\xe9\tb\n")
    with pytest.raises(UserError, match=r"latin\.tsv:1 is not UTF-8"):
        read(pairs.Config(str(tmp_path / "latin.tsv")))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": ("1",)}, "columns must name two"),
        ({"pattern": "(.*)", "form": "lines"}, "two groups"),
        ({"pattern": "((", "form": "lines"}, "no regular expression"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(UserError, match=message):
        pairs.Config("a", **settings)
