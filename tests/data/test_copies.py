"""Copies of training documents, each cut into other pieces (subword regularisation)."""

import itertools
from collections import Counter

import numpy as np
import pytest

from lm_lab.data import encoding, normal_forms, store, writing
from lm_lab.data.documents import Corpus
from lm_lab.data.sources import synthetic
from lm_lab.data.tokenizers import sentencepiece
from lm_lab.types import UserError

COPIES = 3
SOURCE = synthetic.Config(documents=60, document_bytes=300)
TEXTS = [document.text for document in synthetic.documents(SOURCE)]
LEARNT = sentencepiece.learn(sentencepiece.Config(pieces=285), TEXTS)


def made(**settings):
    return sentencepiece.make(sentencepiece.Config(pieces=285, **settings), LEARNT)


def build(codec, folder, **settings):
    return store.build(Corpus("synthetic", SOURCE), codec, folder, **settings)


def parts(tokens, codec):
    """The ids of each document of a stream."""
    ends = np.flatnonzero(tokens == codec.end_of_document)
    return [part[:-1] for part in np.split(tokens, ends + 1)[:-1]]


def test_training_documents_stand_so_often_each_cut_otherwise(tmp_path):
    plain, codec = made(), made(copies=COPIES)
    once, built = build(plain, tmp_path), build(codec, tmp_path)
    assert built.key != once.key
    np.testing.assert_array_equal(built.heldout, once.heldout)
    drawn = parts(built.train, codec)
    expected = Counter(codec.decode(part) for part in parts(once.train, plain))
    assert Counter(map(codec.decode, drawn)) == Counter(
        {text: COPIES * count for text, count in expected.items()}
    )
    assert len({part.tobytes() for part in drawn}) == len(drawn)
    assert built.bytes_of[built.train].sum() == COPIES * once.bytes_of[once.train].sum()
    assert built.manifest["bytes"] == once.manifest["bytes"]


def test_a_killed_build_draws_the_same_copies(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "BATCH_BYTES", 1000)
    monkeypatch.setattr(writing, "CHECKPOINT_BYTES", 3000)
    codec, note, noted = made(copies=COPIES), writing.StoreFiles.note, itertools.count()

    def interrupted(files, documents):
        note(files, documents)
        if next(noted) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(writing.StoreFiles, "note", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(codec, tmp_path / "killed")
    resumed, whole = (build(codec, tmp_path / name) for name in ("killed", "whole"))
    assert resumed.manifest["files"] == whole.manifest["files"]


def test_texts_are_normalised_before_they_are_cut():
    codec = normal_forms.behind(made(copies=COPIES), "NFD")
    (ids,) = codec.sampling.draw(["\u00e9t\u00e9"], 1)
    assert codec.decode(ids) == "e\u0301te\u0301"


def test_the_end_of_a_text_has_no_copies(tmp_path):
    with pytest.raises(UserError, match="copies: .* whole training documents"):
        build(made(copies=COPIES), tmp_path, split="tail")
