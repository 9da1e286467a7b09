"""Bytes: any text, there and back, each id one byte."""

import numpy as np
import pytest

from lm_lab.data.tokenizers import byte

TOKENIZER = byte.make(byte.Config())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "안녕하세요, 세계! 각",
        "e\u0301 \U0001f600 \r\n\0",
        "한글 jamo: \u1112\u1161\u11ab",
    ],
)
def test_there_and_back(text):
    ids = TOKENIZER.encode(text)
    assert ids.dtype == np.uint16
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.bytes_of[ids].sum() == len(text.encode())


def test_end_of_document_stands_for_no_byte():
    assert TOKENIZER.vocab == len(TOKENIZER.bytes_of) == 257
    assert TOKENIZER.bytes_of[TOKENIZER.end_of_document] == 0
    assert TOKENIZER.decode([97, TOKENIZER.end_of_document, 98]) == "ab"


def test_half_a_character_is_marked():
    assert TOKENIZER.decode([0xED, 0x95]) == "\ufffd"
