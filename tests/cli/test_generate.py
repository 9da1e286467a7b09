"""What `lm-lab generate` gives a model to go on from."""

import numpy as np
import pytest

from lm_lab.cli.generate import pieces, prompted, utf8
from lm_lab.data import loader
from lm_lab.data.tokenizers import byte
from lm_lab.types import UserError
from tests import tiny

PAIRS = {"source": "pairs", "tokenizer": "byte", "length": 16, "context_length": 16, "spell": "source"}


def test_a_source_is_given_as_the_files_have_it_after_reading(tmp_path):
    (tmp_path / "pairs.tsv").write_text("ab\tx\n" * 8)
    config = tiny.config({"objective.name": "seq2seq"})
    config.data = {**PAIRS, "path": str(tmp_path / "pairs.tsv"), "unicode": "NFD"}
    experiment = tiny.configs.resolve(config)[0]
    tokenizer = loader.open_tokenizer(experiment.data, experiment.source, experiment.tokenizer)
    given = prompted(experiment, tokenizer, ["b\N{LATIN SMALL LETTER E WITH ACUTE}"])
    expected = [*tokenizer.encode("b e \N{COMBINING ACUTE ACCENT}").tolist(), tokenizer.end_of_document]
    np.testing.assert_array_equal(given.tokens, [expected])


@pytest.mark.parametrize(
    "family, objective, why",
    [("encoder", "masked", "sees the whole text"), ("word2vec", "word2vec", "sees no order of words")],
)
def test_who_generates_no_text_is_told_why(family, objective, why):
    config = tiny.config({"objective.name": objective})
    config.model = {"family": family, "width": 16}
    experiment = tiny.configs.resolve(config)[0]
    with pytest.raises(UserError, match=f"of family {family} {why}, and generates none"):
        prompted(experiment, None, ["text"])  # type: ignore[arg-type] - it is not asked


def test_what_is_streamed_is_the_whole_text():
    tokenizer = byte.make(byte.Config())
    steps = [[ord("a"), 0xC3], [0xA9, 0xFF], [0xC3]]  # a whole letter in two steps, and bytes that are none at the end
    shown = "".join(pieces(tokenizer, (np.array([step]) for step in steps)))
    assert shown == tokenizer.decode([number for step in steps for number in step])


def test_a_prompt_of_other_bytes_is_named():
    with pytest.raises(UserError, match="--prompt number 2 is not UTF-8"):
        utf8(["na\u00efve", "\udcff"])
