"""The prompts that `lm-lab generate` gives to a model."""

import json

import numpy as np
import pytest

from lm_lab.cli.generate import utf8
from lm_lab.data.tokenizers import byte, hugging_face
from lm_lab.library.writing import pieces, prompted
from lm_lab.train import carried
from lm_lab.train.task import bind
from lm_lab.types import UserError
from tests import tiny, vocabularies

PAIRS = {
    "tokenizer": "byte",
    "length": 16,
    "context_length": 16,
}


def test_a_source_is_given_as_the_files_have_it_after_reading(tmp_path):
    (tmp_path / "pairs.tsv").write_text("ab\tx\n" * 8)
    config = tiny.config({"objective.name": "seq2seq"})
    path = str(tmp_path / "pairs.tsv")
    source = {"name": "pairs", "path": path, "spell": "source", "unicode": "NFD"}
    config.data = {**PAIRS, "source": source}
    task = bind(*tiny.configs.resolve(config))
    given = prompted(task, ["b\N{LATIN SMALL LETTER E WITH ACUTE}"])
    spelt = task.tokenizer.encode("b e \N{COMBINING ACUTE ACCENT}").tolist()
    expected = [*spelt, task.tokenizer.end_of_document]
    np.testing.assert_array_equal(given.tokens, [expected])


@pytest.mark.parametrize(
    "family, objective, why",
    [
        ("encoder", "masked", "sees the whole text"),
        ("word2vec", "word2vec", "sees no order of words"),
    ],
)
def test_who_generates_no_text_is_told_why(family, objective, why):
    config = tiny.config({"objective.name": objective})
    config.model = {"family": family, "width": 16}
    task = bind(*tiny.configs.resolve(config))
    with pytest.raises(UserError, match=f"of family {family} {why}, and generates none"):
        prompted(task, ["text"])


def test_what_is_streamed_is_the_whole_text():
    tokenizer = byte.make(byte.Config())
    # A whole letter in two steps, and bytes that are none at the end.
    steps = [[ord("a"), 0xC3], [0xA9, 0xFF], [0xC3]]
    shown = "".join(pieces(tokenizer, (np.array([step]) for step in steps), []))
    assert shown == tokenizer.decode([number for step in steps for number in step])


def test_no_streamed_byte_is_taken_back_and_the_space_after_the_prompt_stays(tmp_path):
    vocabularies.byte_fallback(tmp_path)
    tokenizer = hugging_face.make(hugging_face.Config(str(tmp_path / "tokenizer.json")))
    a, end = 256, tokenizer.end_of_document
    e_acute, bad = [0xC3, 0xA9], 0xFF
    for ids in (
        [a, *e_acute, bad, a, a],
        [a, *e_acute, a],
        [0x41, bad],
        [*e_acute, end, a],
        e_acute,
    ):
        kept = ids[: ids.index(end)] if end in ids else ids
        shown = list(pieces(tokenizer, (np.array([[number]]) for number in ids), [end], [a, a]))
        assert "".join(["a a", *shown]) == tokenizer.decode([a, a, *kept])
    assert tokenizer.decode([a, *e_acute, bad]) == "a\ufffd\ufffd\ufffd"


def test_a_text_ends_with_any_end_id_of_the_model_that_the_run_came_from(tmp_path):
    assert carried.ends(tmp_path) == []
    for name, named, expected in (("config", 7, [7]), ("generation_config", [3, 5], [3, 5])):
        (tmp_path / "foreign").mkdir(exist_ok=True)
        (tmp_path / "foreign" / f"{name}.json").write_text(json.dumps({"eos_token_id": named}))
        assert carried.ends(tmp_path) == expected
    tokenizer = byte.make(byte.Config())
    assert "".join(pieces(tokenizer, iter([np.array([[*b"ab;c"]])]), [256, ord(";")])) == "ab"


def test_a_prompt_of_other_bytes_is_named():
    with pytest.raises(UserError, match="--prompt number 2 is not UTF-8"):
        utf8(["na\u00efve", "\udcff"])
