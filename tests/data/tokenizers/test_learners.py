"""Tokenizers that learn: nothing is unknown, decode(encode(text)) is the text, bytes are counted as
documented.
"""

import pytest

from lm_lab import registry
from lm_lab.data.tokenizers import characters, sentencepiece, words
from lm_lab.types import UserError

TEXTS = [
    "jump twice and turn left",
    "한국어 각 글자",
    "  two spaces,  tab\tand an end ",
    "line\nbreaks\n",
    "emoji 🙂 café",
    "",
    " ",
    "\u1112\u1161\u11ab conjoining letters",
]
TRAINED = TEXTS[:3] * 20
CONFIGS = [
    words.Config(),
    words.Config(least_count=25, most_words=3),
    characters.Config(),
    characters.Config(hangul="letters", least_count=30),
    sentencepiece.Config(pieces=285),
    sentencepiece.Config(pieces=285, kind="bpe"),
]


def made(config):
    module = registry.load("data.tokenizers", type(config).__module__.rpartition(".")[2], "")
    return module.make(config, module.learn(config, iter(TRAINED)))


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_every_text_comes_back_and_its_bytes_are_counted(config):
    tokenizer = made(config)
    assert (
        len(tokenizer.bytes_of)
        == len(tokenizer.words)
        == len(tokenizer.sentence_ends)
        == tokenizer.vocab
    )
    assert tokenizer.bytes_of[tokenizer.end_of_document] == 0
    more = int(isinstance(config, words.Config))  # the end of the line
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert not len(ids) or int(ids.max()) < tokenizer.end_of_document
        assert tokenizer.decode([*ids.tolist(), tokenizer.end_of_document]) == text
        assert int(tokenizer.bytes_of[ids].sum()) == len(text.encode()) + more
    batch = tokenizer.encode_batch(TEXTS)
    assert [(ids.dtype, ids.tolist()) for ids in batch] == [
        (ids.dtype, ids.tolist()) for ids in map(tokenizer.encode, TEXTS)
    ]


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_learning_is_repeatable_and_decides_the_identity(config):
    module = registry.load("data.tokenizers", type(config).__module__.rpartition(".")[2], "")
    learnt = module.learn(config, iter(TRAINED))
    assert module.learn(config, iter(TRAINED)) == learnt
    assert made(config).identity == module.make(config, learnt).identity
    assert len({made(each).identity for each in CONFIGS}) == len(CONFIGS)


def test_a_word_has_one_id_and_another_is_spelt():
    tokenizer = made(words.Config())
    assert len(tokenizer.encode("turn left twice")) == 3
    assert len(tokenizer.encode("turn around")) == 1 + len("around ")


def test_hangul_by_letter():
    tokenizer = made(characters.Config(hangul="letters"))
    ids = tokenizer.encode("각한")
    assert len(ids) == 6
    assert tokenizer.bytes_of[ids].tolist() == [3, 0, 0, 3, 0, 0]
    assert len(tokenizer.encode("뷁")) == 3  # a syllable that was never seen


@pytest.mark.parametrize(
    "pieces, remedy",
    [
        (5000, r"the most for it is \d+; lower it"),
        (260, r"characters and the bytes need \d+; raise"),
    ],
)
def test_pieces_that_the_text_has_not_are_refused(pieces, remedy):
    named = (
        rf"config\.data\.tokenizer\.pieces: {pieces} cannot be learnt from this text; .*{remedy}"
    )
    with pytest.raises(UserError, match=named):
        sentencepiece.learn(sentencepiece.Config(pieces=pieces), iter(TRAINED))
