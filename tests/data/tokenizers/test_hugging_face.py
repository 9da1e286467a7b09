"""A byte-level BPE is lossless, counts bytes, and makes no special token of text."""

import json

import numpy as np
import pytest

from lm_lab.data.tokenizers import hugging_face
from lm_lab.types import UserError

tokenizers = pytest.importorskip("tokenizers")

TEXTS = (
    "",
    "the cat sat on the mat",
    "  two  spaces\n\n\ttabs",
    "naïve café — 漢字 😀",
    "é is not é",
    "<|endoftext|>",
)


@pytest.fixture
def file(tmp_path):
    """GPT-2's kind, trained on a line."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.normalizer = tokenizers.normalizers.NFC()  # as Qwen's
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator(["the cat sat on the mat, the naïve cat. " * 4], trainer)
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_comes_back_and_its_bytes_are_counted(file, text):
    tokenizer = hugging_face.make(hugging_face.Config(str(file)))
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.bytes_of[ids].sum() == len(text.encode())
    assert tokenizer.end_of_document not in ids


def test_ids_are_those_of_the_library(file):
    tokenizer = hugging_face.make(hugging_face.Config(str(file)))
    library = tokenizers.Tokenizer.from_file(str(file))
    assert tokenizer.encode(TEXTS[1]).tolist() == library.encode(TEXTS[1]).ids
    assert (tokenizer.vocab, tokenizer.end_of_document) == (library.get_vocab_size(), 0)
    assert tokenizer.decode([0, *tokenizer.encode("a")]) == "a"
    assert tokenizer.bytes_of.sum() == sum(
        len(tokenizer.decode([i]).encode()) for i in library_ids(tokenizer)
    )


def library_ids(tokenizer):
    """The ids whose text is whole characters; the others are single bytes,
    or end amid a character.
    """
    whole = [
        i
        for i in range(tokenizer.vocab)
        if "\N{REPLACEMENT CHARACTER}" not in tokenizer.decode([i])
    ]
    assert tokenizer.vocab - len(whole) >= 128
    broken = np.setdiff1d(np.arange(tokenizer.vocab), whole)
    return [*whole, *([whole[1]] * int(tokenizer.bytes_of[broken].sum()))]


def test_words_begin_after_a_space(file):
    tokenizer = hugging_face.make(hugging_face.Config(str(file)))
    ids = tokenizer.encode("the cat.").tolist()
    marks = {tokenizer.decode([i]): int(tokenizer.words[i]) for i in ids}
    assert marks == {"the": 1, " cat": 2, ".": 0}
    assert tokenizer.sentence_ends[ids].tolist() == [False, False, True]


def changed(file, **parts):
    file.write_text(json.dumps(json.loads(file.read_text()) | parts))
    return hugging_face.Config(str(file))


@pytest.mark.parametrize(
    "parts, message",
    [
        ({"pre_tokenizer": None}, "not a byte-level BPE"),
        (
            {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}},
            "a space before every text",
        ),
        ({"added_tokens": []}, "end_token: none of its special tokens is a usual end"),
        ({"model": {"type": "BPE", "vocab": {"漢": 0}}}, "not a tokenizer.json"),
        (
            {"model": {"type": "WordPiece", "vocab": {}}},
            "a WordPiece of this form is not supported; known: BPE",
        ),
        (
            {
                "pre_tokenizer": None,
                "model": {"type": "BPE", "vocab": {}, "continuing_subword_prefix": "##"},
            },
            "a BPE with continuing_subword_prefix is not supported",
        ),
        ({"pre_tokenizer": None, "decoder": None}, "not a byte-level BPE"),
        ({"model": None}, "not a tokenizer.json"),
        ({"version": "9"}, "the tokenizers library refuses it"),
        (
            {"added_tokens": [{"content": "</s>", "id": 10**9, "special": True}]},
            "has the id 1000000000",
        ),
    ],
)
def test_another_kind_is_refused(file, parts, message):
    with pytest.raises(UserError, match=message):
        hugging_face.make(changed(file, **parts))


def test_a_byte_without_a_letter_is_named(file):
    """The letters of bytes that UTF-8 never has may be missing."""
    model = json.loads(file.read_text())["model"]
    for letter, is_needed in (("\u00fe", False), ("\u0120", True)):
        pieces = [piece for piece in model["vocab"] if letter not in piece]
        merges = [merge for merge in model["merges"] if letter not in "".join(merge)]
        vocab = {piece: number for number, piece in enumerate(pieces)}
        config = changed(file, model=model | {"vocab": vocab, "merges": merges})
        if is_needed:
            with pytest.raises(UserError, match=rf"{file}: has no token for byte 0x20, so not"):
                hugging_face.make(config)
        else:
            assert hugging_face.make(config).decode([1]) == pieces[1]


def test_a_missing_or_broken_file_is_named(file):
    for content, message in ((b"{", "not a tokenizer.json"), (None, "cannot read: No such file")):
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UserError, match=rf"tokenizer_file {file}: {message}"):
            hugging_face.make(hugging_face.Config(str(file)))
        file.touch()


def test_marks_of_the_ends_of_words_are_spaces(file):
    """GPT-1's form, and CLIP's, whose letters stand for bytes."""
    facts = json.loads(file.read_text())
    letters = {
        piece: number for piece, number in facts["model"]["vocab"].items() if len(piece) == 1
    }
    ends = {f"{piece}</w>": len(letters) + number for piece, number in letters.items()}
    end = len(letters) + len(ends)
    model = {"type": "BPE", "vocab": letters | ends, "merges": [], "end_of_word_suffix": "</w>"}
    added = [facts["added_tokens"][0] | {"content": "</s>", "id": end, "special": True}]
    split = {"type": "WhitespaceSplit"}
    levels = {"type": "Sequence", "pretokenizers": [split, facts["pre_tokenizer"]]}
    for parts in (
        {"pre_tokenizer": split, "decoder": {"type": "BPEDecoder", "suffix": "</w>"}},
        {"pre_tokenizer": levels},
    ):
        plain = {"model": model, "added_tokens": added, "post_processor": None}
        tokenizer = hugging_face.make(changed(file, **plain, **parts))
        ids = tokenizer.encode("the cat")
        assert tokenizer.decode(ids) == "the cat"
        assert tokenizer.bytes_of[ids].tolist() == [1, 1, 2, 1, 1, 2]


def test_merges_are_never_dropped(file):
    model = json.loads(file.read_text())["model"]
    plain = hugging_face.make(hugging_face.Config(str(file)))
    dropping = hugging_face.make(changed(file, model=model | {"dropout": 0.9}))
    text = "the cat was not happy at all"
    assert dropping.encode(text).tolist() == plain.encode(text).tolist()
