"""Tokenizers that come with models of other libraries give the ids that those libraries give."""

import json
from pathlib import Path

import pytest
import sentencepiece

from lm_lab.data.tokenizers import hugging_face, sentencepiece_file
from lm_lab.types import UserError
from tests import vocabularies

TEXTS = ("the cat sat", "a  dog's tree !", "Wo ist </s> <s> 漢 é?", "")


def same_bytes(tokenizer, text):
    """Whether the bytes counted are those of the text that comes back, and of a space before it."""
    ids = tokenizer.encode(text)
    return int(tokenizer.bytes_of[ids].sum()) - len(tokenizer.decode(ids).encode()) in (0, 1)


@pytest.mark.parametrize("kind", ["vocab.txt", "tokenizer.json"])
def test_word_pieces(kind, tmp_path):
    library = pytest.importorskip("tokenizers")
    vocabularies.word_piece(tmp_path)
    tokenizer = hugging_face.make(hugging_face.Config(str(tmp_path / kind), framed=True))
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in TEXTS[:2]:
        assert [*tokenizer.encode(text), tokenizer.end_of_document] == theirs.encode(text).ids
    assert (
        tokenizer.decode(tokenizer.encode("The Cat!")) == "the cat!"
    )  # as it was trained: lower case
    assert same_bytes(tokenizer, "the cat")
    assert tokenizer.mask == theirs.token_to_id("[MASK]")
    assert [int(tokenizer.words[number]) for number in tokenizer.encode("the cat.")[1:]] == [
        2,
        2,
        0,
    ]
    assert (tokenizer.words == 1).any()  # pieces that go on with a word


def test_byte_pairs_of_older_folders(tmp_path):
    library = pytest.importorskip("tokenizers")
    vocabularies.byte_level(tmp_path, *vocabularies.SPECIAL, framed=True)
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs.model.save(str(tmp_path))  # vocab.json and merges.txt
    for name in ("tokenizer.json", "vocab.json"):
        tokenizer = hugging_face.make(hugging_face.Config(str(tmp_path / name), framed=True))
        for text in TEXTS[:2]:
            assert [*tokenizer.encode(text), tokenizer.end_of_document] == theirs.encode(text).ids
        assert tokenizer.mask == theirs.token_to_id("<mask>")
        assert tokenizer.decode(tokenizer.encode(TEXTS[2])) == TEXTS[2]


def test_a_unigram_makes_no_special_token_of_text(tmp_path):
    library = pytest.importorskip("tokenizers")
    scored = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0), ("\u2581cat", -1.0)]
    scored += [(letter, -3.0) for letter in "cats<>/"]
    made = library.Tokenizer(library.models.Unigram(scored, unk_id=2))
    made.pre_tokenizer, made.decoder = (
        library.pre_tokenizers.Metaspace(),
        library.decoders.Metaspace(),
    )
    made.add_special_tokens(["<pad>", "</s>", "<unk>", "<extra_id_0>", "<extra_id_1>"])
    made.save(str(tmp_path / "tokenizer.json"))
    tokenizer = hugging_face.make(hugging_face.Config(str(tmp_path / "tokenizer.json")))
    assert tokenizer.encode("cat").tolist() == [4]
    assert tokenizer.end_of_document not in tokenizer.encode("cat</s>")
    assert tokenizer.decode(tokenizer.encode("cat</s>")) == "cat</s>"
    assert tokenizer.sentinels == (12, 13)


def test_one_model_of_pieces(tmp_path):
    vocabularies.t5(tmp_path)
    file = str(tmp_path / "spiece.model")
    theirs = sentencepiece.SentencePieceProcessor(model_file=file)
    tokenizer = sentencepiece_file.make(sentencepiece_file.Config(file, sentinels=4))
    for text in TEXTS:
        assert tokenizer.encode(text).tolist() == theirs.EncodeAsIds(text)
        assert tokenizer.decode(tokenizer.encode(text)) == theirs.DecodeIds(
            theirs.EncodeAsIds(text)
        ).replace(" ⁇ ", "")
    assert same_bytes(tokenizer, "the cat sat")
    size = theirs.GetPieceSize()
    assert (tokenizer.vocab, tokenizer.sentinels) == (
        size + 4,
        (size + 3, size + 2, size + 1, size),
    )
    begun = sentencepiece_file.make(sentencepiece_file.Config(file, begin_token="<pad>"))
    assert begun.encode("the cat").tolist() == [0, *theirs.EncodeAsIds("the cat")]


def test_two_models_of_pieces_cut_sources_and_targets(tmp_path):
    vocabularies.marian(tmp_path)
    names = [str(tmp_path / name) for name in ("source.spm", "target.spm", "vocab.json")]
    tokenizer = sentencepiece_file.make(sentencepiece_file.Config(*names))
    ids = json.loads((tmp_path / "vocab.json").read_text())
    source, target = (sentencepiece.SentencePieceProcessor(model_file=name) for name in names[:2])
    assert tokenizer.of_source("the cat").tolist() == [
        ids[piece] for piece in source.EncodeAsPieces("the cat")
    ]
    assert tokenizer.encode("die katze").tolist() == [
        ids[piece] for piece in target.EncodeAsPieces("die katze")
    ]
    assert tokenizer.of_source(">>de<< the").tolist() == [
        ids[">>de<<"],
        *tokenizer.of_source("the"),
    ]
    assert tokenizer.decode(tokenizer.encode("der hund")) == "der hund"
    assert tokenizer.end_of_document == 0


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"tokenizer_file": "none"}, r"tokenizer_file none: cannot read: No such file"),
        (
            {"tokenizer_file": "owner/name"},
            r"hf download owner/name tokenizer.model --local-dir=FOLDER, and name FOLDER/",
        ),
        ({"tokenizer_file": __file__}, "not a whole SentencePiece model; fetch it again"),
        ({"tokenizer_file": "empty"}, "tokenizer_file empty: the file is empty"),
        ({"tokenizer_file": "pointer"}, "bring it with git lfs pull"),
        ({"vocab_file": "huge.json"}, "huge.json: has the id 1000000000000, and ids are"),
        ({"end_token": "<end>"}, "config.data.tokenizer.end_token: the tokenizer has no '<end>'"),
        ({"vocab_file": "none"}, "none: cannot read"),
        ({"vocab_file": __file__}, "no JSON"),
    ],
)
def test_mistakes_are_named(settings, message, tmp_path, monkeypatch):
    vocabularies.t5(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("empty").touch()
    Path("pointer").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    Path("huge.json").write_text('{"</s>": 1000000000000}')
    with pytest.raises(UserError, match=message):
        sentencepiece_file.make(
            sentencepiece_file.Config(
                **{"tokenizer_file": str(tmp_path / "spiece.model"), **settings}
            )
        )


@pytest.mark.parametrize("name", ["vocab.json", "tokenizer_config.json"])
def test_a_damaged_file_of_an_older_form_is_named(name, tmp_path):
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\n")
    (tmp_path / name).write_text("{")
    file = "vocab.json" if name == "vocab.json" else "vocab.txt"
    with pytest.raises(UserError, match=rf"{name}: no JSON .*; mend it, or fetch it again"):
        hugging_face.make(hugging_face.Config(str(tmp_path / file)))
