"""Every tokenizer gives back any Unicode text, counts its bytes, and encodes a batch as its texts
one by one.
"""

import base64
import json
import random
import unicodedata

import numpy as np
import pytest

from lm_lab import registry
from lm_lab.data.tokenizers import (
    _library,
    byte,
    characters,
    hugging_face_learnt,
    morphemes,
    sentencepiece,
    tiktoken,
    words,
)
from lm_lab.types import UserError

TRAINED = ["한국어 각 글자 ㅋㅋ text of words", "값 없 닭 many words of text", "하ㅋㅋ ㅏㅏ"] * 20
CONFIGS = [
    byte.Config(),
    words.Config(),
    words.Config(normal_form="NFC"),
    characters.Config(hangul="letters"),
    characters.Config(hangul="compatibility"),
    characters.Config(hangul="compatibility", least_count=30, normal_form="NFKC"),
    characters.Config(normal_form="NFD"),
    sentencepiece.Config(pieces=285),
    sentencepiece.Config(pieces=285, kind="bpe", normal_form="NFC"),
    hugging_face_learnt.Config(),
    hugging_face_learnt.Config(normal_form="NFC", lower_case=True),
    hugging_face_learnt.Config(kind="unigram", pieces=300),
    morphemes.Config(),
]
KNOTS = (
    *("\u0301", "\u200d", "\ufe0f", "👩\u200d🔬", "🇰🇷", "\u2028", "\xa0", "\ufeff", "\u3164"),
    *("\uffa1", "\ua960", "\ud7cb", "\0", "\r\n", "  ", "\t", "<|endoftext|>", "<s>", "[UNK]"),
    *("가", "각", "ㄱ", "ㅏ", "ㅋㅋ", "a", "B", "."),
)


def texts(count):
    """Texts of all planes, of syllables, lone and conjoining letters, and of troublesome signs."""
    draw = random.Random(0)
    blocks = [(0xAC00, 0xD7A3), (0x1100, 0x11FF), (0x3131, 0x318E), (0, 0xD7FF), (0xE000, 0x10FFFF)]

    def some():
        chosen = draw.randrange(len(blocks) + 3)
        if chosen < len(blocks):
            return chr(draw.randint(*blocks[chosen]))
        if chosen == len(blocks):
            return unicodedata.normalize("NFD", chr(draw.randint(*blocks[0])))
        return draw.choice(KNOTS)

    return ["".join(some() for _ in range(draw.randrange(30))) for _ in range(count)]


TEXTS = [*texts(300), "", "\0", "각ㅏ", "가ㄱ", "ㄱㅏ", "가" * 3000, "a" * 20_000]


def made(config):
    name = type(config).__module__.rpartition(".")[2]
    package = {"hugging_face_learnt": "tokenizers", "morphemes": "kiwipiepy"}.get(name)
    if package is not None:
        pytest.importorskip(package)
    tokenizer = registry.load("data.tokenizers", name, "")
    learnt = b"" if tokenizer.learn is None else tokenizer.learn(config, iter(TRAINED))
    return tokenizer.make(config, learnt)


def expected(config, text):
    """The text that decode returns: in the normal form that the settings ask for."""
    if form := getattr(config, "normal_form", None):
        text = unicodedata.normalize(form, text)
    if getattr(config, "lower_case", False):
        text = text.lower()
    return text.replace("\u2581", " ") if isinstance(config, sentencepiece.Config) else text


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_any_text_comes_back_and_its_bytes_are_counted(config):
    codec = made(config)
    separators = int(isinstance(config, words.Config))  # a word counts the one behind it
    for text, ids in zip(TEXTS, codec.encode_batch(TEXTS), strict=True):
        wanted = expected(config, text)
        assert codec.decode(ids) == wanted
        assert int(codec.bytes_of[ids].sum()) == len(wanted.encode()) + separators
        assert codec.end_of_document not in ids
    for text in TEXTS[:40]:
        assert codec.encode_batch([text])[0].tolist() == codec.encode(text).tolist()


def test_a_compatibility_letter_is_the_same_at_both_ends_of_a_syllable():
    codec = made(characters.Config(hangul="compatibility"))
    first, vowel, last = codec.encode("각")
    assert first == last != vowel
    assert len(made(characters.Config(hangul="letters")).encode("각")) == 3
    # A letter that stands alone is a character: its bytes are counted, and the text comes back.
    assert codec.encode("ㅋ")[0] not in codec.encode("크")


def test_without_byte_fallback_what_is_lost_is_not_counted():
    codec = made(sentencepiece.Config(pieces=30, byte_fallback=False))
    assert codec.decode(codec.encode("text 漢 words")) == "text  words"
    assert int(codec.bytes_of[codec.encode("text 漢 words")].sum()) == len("text  words")
    assert codec.unknown[codec.encode("text 漢 words")].sum() == 1


def test_word_pieces_learnt():
    pytest.importorskip("tokenizers")
    codec = made(hugging_face_learnt.Config(kind="wordpiece", lower_case=True))
    assert codec.decode(codec.encode("Text of\nWORDS!")) == "text of words"
    assert codec.unknown[codec.encode("text 漢")].tolist() == [False, True]


def test_morphemes_are_cut_as_they_stand():
    pytest.importorskip("kiwipiepy")
    codec = made(morphemes.Config(least_count=1))
    (pieces,) = morphemes._pieces(["영화가  재밌었다.\n그랬어요"])
    assert pieces == ["영화", "가", "  재밌", "었", "다", ".", "\n", "그랬", "어요"]
    assert codec.words[codec.encode(" 글자")].tolist() == [2]


@pytest.fixture
def ranks(tmp_path):
    """A .tiktoken file: the bytes, and the merges that another library learnt."""
    pytest.importorskip("tiktoken")
    pytest.importorskip("tokenizers")
    facts = json.loads(hugging_face_learnt.learn(hugging_face_learnt.Config(), iter(TRAINED)))
    letters = _library.letters()
    tokens = [bytes([value]) for value in range(256)]
    tokens += [
        bytes(letters[one] for one in left + right) for left, right in facts["model"]["merges"]
    ]
    lines = [b"%s %d" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens)]
    path = tmp_path / "some.tiktoken"
    path.write_bytes(b"\n".join(lines))
    return path


@pytest.mark.parametrize("pattern", ["r50k", "cl100k", "o200k", r"\p{L}+"])
def test_files_of_ranks(ranks, pattern):
    codec = tiktoken.make(tiktoken.Config(str(ranks), pattern))
    for text, ids in zip(TEXTS, codec.encode_batch(TEXTS), strict=True):
        assert codec.decode(ids) == text
        assert int(codec.bytes_of[ids].sum()) == len(text.encode())
        assert codec.end_of_document not in ids
        assert len(text) > 100 or np.array_equal(ids, codec.encode(text))


def test_ranks_and_letters_give_the_same_cuts(ranks):
    """GPT-2's pattern is that of the tokenizers library's byte-level BPE."""
    ours = tiktoken.make(tiktoken.Config(str(ranks), "r50k"))
    theirs = made(hugging_face_learnt.Config())
    for text in (*TRAINED[:3], "many   words\n\n of text 12"):
        cuts = [[int(codec.bytes_of[n]) for n in codec.encode(text)] for codec in (ours, theirs)]
        assert cuts[0] == cuts[1]


ALPHABET = b"".join(base64.b64encode(bytes([n])) + b" %d\n" % n for n in range(256))
LONG = base64.b64encode(b"a" * 70_002)


@pytest.mark.parametrize(
    "content, settings, message",
    [
        (None, {}, "cannot read: No such file"),
        (b"IQ== 0\nno", {}, "line 2 is not a token in base64 and its rank"),
        (b"IQ== 0", {}, "has no token for byte 0x00"),
        (b"\n", {}, "has no token for byte 0x00"),
        (ALPHABET + b"eno= 999999999", {}, "has the id 999999999, and ids are whole numbers"),
        (ALPHABET + b"IQ== 256", {}, "line 257 has the token of rank 33 again"),
        (ALPHABET + b"eno= 200", {}, "two tokens have one rank"),
        (ALPHABET + b"eno= 257", {"end_id": 300}, "no token has the rank 256; .*end_id"),
        (ALPHABET + LONG + b" 256", {}, "id 256 has 70,002 bytes"),
        (b"", {"pattern": "cl10k"}, r"no pattern 'cl10k'; did you mean 'cl100k'"),
        (b"", {"pattern": "(("}, r"tokenizer\.pattern: no regular expression"),
        (b"", {"end_id": 3}, r"tokenizer\.end_id: 3 is a token's"),
    ],
)
def test_a_faulty_file_of_ranks_is_named(ranks, content, settings, message):
    if content is None:
        ranks.unlink()
    elif content:
        ranks.write_bytes(content)
    with pytest.raises(UserError, match=message):
        tiktoken.make(tiktoken.Config(str(ranks), **settings))
