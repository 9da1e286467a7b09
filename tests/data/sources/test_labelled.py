"""Labelled texts from columns; bad labels answered in one line."""

import pytest

from lm_lab.data.sources import labelled
from lm_lab.types import UserError


def read(path, **settings):
    return [
        (document.text, document.label)
        for document in labelled.documents(labelled.Config(str(path), **settings))
    ]


def test_columns_by_name_joined_and_empty_texts_left_out(tmp_path):
    (tmp_path / "a.tsv").write_text(
        'id\tone\ttwo\tscore\n1\tA "q\tB\t2 \n2\t \t\t1\n3\tC\tD\t-0.5\n'
    )
    found = read(tmp_path / "a.tsv", text=("one", "two"), label="score", header=True)
    assert found == [('A "q\nB', 2.0), ("C\nD", -0.5)]


def test_commas(tmp_path):
    (tmp_path / "a.csv").write_text('Q,A,label\n"a, b",c,1\n')
    assert read(tmp_path / "a.csv", form="commas", text=("Q",), label="label", header=True) == [
        ("a, b", 1.0)
    ]


@pytest.mark.parametrize("label", ["good", "", "nan", "inf"])
def test_labels_that_are_no_numbers(tmp_path, label):
    (tmp_path / "a.tsv").write_text(f"text\t1\nmore\t{label}\n")
    with pytest.raises(
        UserError, match=rf"a\.tsv:2 has the label '{label}', and it must be a number"
    ):
        read(tmp_path / "a.tsv")


def test_the_fingerprint_follows_contents_and_how_they_are_read(tmp_path):
    (tmp_path / "a.tsv").write_text("1\t2\n")
    path = str(tmp_path / "a.tsv")
    prints = {labelled.fingerprint(labelled.Config(path, label=label)) for label in ("1", "2")}
    (tmp_path / "a.tsv").write_text("1\t3\n")
    assert len(prints | {labelled.fingerprint(labelled.Config(path))}) == 3
