"""Batches whose rows read on are a function of the step: each row has a part of its own."""

import numpy as np
import pytest

from lm_lab.data.contiguous import contiguous_batches, ends_of
from lm_lab.types import UserError

END, WINDOW, STRIDE, ROWS = 0, 5, 4, 3
BYTES = np.append(0, np.ones(999)).astype(np.float32)


def make(tokens, end=None, **hosts):
    windows = (len(tokens) - WINDOW) // STRIDE + 1
    shape = {"window": WINDOW, "stride": STRIDE, "windows": windows, "batch_size": ROWS}
    return contiguous_batches(np.asarray(tokens, np.uint16), BYTES, end, **shape, **hosts)


def test_each_row_reads_a_part_of_its_own_window_after_window_and_then_again():
    batches = make(np.arange(1, 100))  # 24 windows: 8 for each row
    assert (batches.steps_per_epoch, batches.epoch_rows) == (8, 24)
    inputs = batches.chunk(0, 8).tokens[:, :, :-1].swapaxes(0, 1).reshape(ROWS, -1)
    np.testing.assert_array_equal(inputs, 1 + np.arange(96).reshape(ROWS, 32))
    begins = np.asarray(batches.chunk(0, 17).begins)
    np.testing.assert_array_equal(begins.all(1), np.arange(17) % 8 == 0)
    assert (begins.any(1) == begins.all(1)).all()
    first, again = batches.at(3), batches.at(11)
    assert all(np.array_equal(*pair) for pair in zip(first[:2], again[:2]))


def test_a_batch_is_a_function_of_its_step():
    batches = make(np.random.default_rng(0).integers(0, 9, 300), END)
    stacked = batches.chunk(5, 30)
    for row in range(30):
        single = batches.at(5 + row)
        for field in ("tokens", "bytes", "segments", "begins"):
            whole, part = getattr(stacked, field), getattr(single, field)
            np.testing.assert_array_equal(whole[row], part)


def test_a_document_that_goes_on_in_the_next_window_keeps_its_number():
    chunk = make([3, END, 4, 4, 4, 4, 4, END, END, 5, 5, 5, 5] * 3, END).chunk(0, 3)
    tokens, segments = (
        np.asarray(leaf)[:, 0, :-1].ravel() for leaf in (chunk.tokens, chunk.segments)
    )
    assert tokens.tolist() == [3, 0, 4, 4, 4, 4, 4, 0, 0, 5, 5, 5]
    assert segments.tolist() == [1, 1, 2, 2, 2, 2, 2, 2, 3, 4, 4, 4]


def test_hosts_share_a_batch():
    tokens = np.arange(1, 200)
    parts = [make(tokens, host_index=host, host_count=3).chunk(2, 30).tokens for host in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), make(tokens).chunk(2, 30).tokens)
    with pytest.raises(UserError, match=r"config\.train\.batch_size: 3 rows do not divide"):
        make(tokens, host_count=2)


@pytest.mark.parametrize("size", [2, 30, 50, 53])
def test_once_is_the_whole_text_to_its_last_token(size):
    batches = make(np.arange(1, 1 + size))
    found = batches.once(0, -(-batches.every_row() // ROWS) * ROWS)
    segments = np.asarray(found.segments)
    judged = (segments[:, 1:] > 0) & (segments[:, :-1] > 0)
    targets = found.tokens[:, 1:][judged]
    np.testing.assert_array_equal(np.sort(targets), np.arange(2, 1 + size))
    assert found.bytes[segments == 0].sum() == 0


def test_ends_are_found_across_blocks(monkeypatch):
    monkeypatch.setattr("lm_lab.data.contiguous.AT_ONCE", 4)
    assert ends_of(np.array([END, 1, 2, END, END, 3, 4, 5, 6, END]), END).tolist() == [0, 3, 4, 9]
    assert ends_of(np.array([1]), END).tolist() == []
