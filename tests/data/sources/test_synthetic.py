"""The synthetic language: the same text at every call, ASCII, with a floor that is known."""

import itertools

import pytest

from lm_lab.data.sources import synthetic
from lm_lab.schema import build
from lm_lab.types import UserError

SMALL = synthetic.Config(documents=5, document_bytes=300)


def test_documents_are_repeatable_and_of_the_size_asked_for():
    first, second = list(synthetic.documents(SMALL)), list(synthetic.documents(SMALL))
    assert first == second
    assert len({document.text for document in first}) == 5
    assert all(len(document.text.encode()) == 300 for document in first)
    assert len({document.name for document in first}) == 5
    assert set("".join(document.text for document in first)) <= set(
        synthetic.ALPHABET[: SMALL.symbols]
    )


def test_more_documents_only_adds_to_them():
    many = synthetic.Config(documents=600, document_bytes=300)
    assert list(itertools.islice(synthetic.documents(many), 5)) == list(synthetic.documents(SMALL))
    assert len(list(synthetic.documents(many))) == 600


@pytest.mark.parametrize(
    "change", [{"language_seed": 1}, {"documents": 6}, {"document_bytes": 301}, {"order": 1}]
)
def test_fingerprint_follows_the_settings(change):
    changed = synthetic.Config(**{"documents": 5, "document_bytes": 300, **change})
    assert (
        synthetic.fingerprint(changed)
        != synthetic.fingerprint(SMALL)
        == synthetic.fingerprint(SMALL)
    )


def test_certain_rows_have_less_entropy():
    rates = [
        synthetic.entropy_rate(synthetic.Config(concentration=value)) for value in (0.05, 0.3, 10.0)
    ]
    assert 0 < rates[0] < rates[1] < rates[2] < 4


def test_table_too_large_to_solve():
    with pytest.raises(UserError, match=r"config\.data.*symbols \*\* order must be at most 1024"):
        build(synthetic.Config, {"symbols": 64, "order": 2}, "config.data")
