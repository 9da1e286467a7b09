"""Best fit: every token once, no document cut that fits into a row, few tokens of padding."""

import numpy as np
import pytest

from lm_lab.data import packing
from lm_lab.data.packing import best_fit, packed_batches, parts_of
from lm_lab.types import UserError

END = 9


def stream(lengths):
    """Documents of these lengths, END counted; the other tokens are all different."""
    tokens = 10 + np.arange(sum(lengths))
    tokens[np.cumsum(lengths) - 1] = END
    return tokens.astype(np.uint32)


def batches(tokens, tmp_path, **settings):
    sizes = np.ones(int(tokens.max()) + 1, np.float32)
    settings = {"window": 16, "stride": 15, "batch_size": 2, "least": 2, "seed": 0} | settings
    return packed_batches(tokens, sizes, END, store=tmp_path / "key", **settings)


def test_every_document_that_fits_is_whole_and_apart(tmp_path):
    lengths = np.random.default_rng(0).integers(1, 17, 200)
    tokens = stream(lengths)
    made = batches(tokens, tmp_path)
    rows = made.once(0, made.epoch_rows)
    found = sorted(
        tuple(row[own == number].tolist())
        for row, own in zip(rows.tokens, rows.segments)
        for number in range(1, own.max() + 1)
    )
    ends = np.cumsum(lengths)
    assert found == sorted(
        tuple(tokens[end - size : end].tolist()) for size, end in zip(lengths, ends)
    )
    assert not rows.bytes[rows.segments == 0].any()


def test_longer_documents_are_windows_that_overlap_by_a_token():
    starts, sizes = parts_of(stream([40, 16, 17, 1]), END, window=16, stride=15)
    assert starts.tolist() == [0, 15, 30, 40, 56, 71, 73]
    assert sizes.tolist() == [16, 16, 10, 16, 16, 2, 1]
    # The targets of a part are all of its tokens but the first: none is a target twice.
    targets = np.concatenate([np.arange(a + 1, a + n) for a, n in zip(starts, sizes)])
    assert len(targets) == len(set(targets.tolist())) == 74 - 4


def test_a_text_that_is_cut_at_its_tail_is_read_to_its_end():
    starts, sizes = parts_of(stream([5, 8])[:-3], END, window=16, stride=15)
    assert (starts.tolist(), sizes.tolist()) == ([0, 5], [5, 5])


def test_best_fit_takes_the_fullest_row_with_room():
    assert best_fit(np.array([3, 7, 5, 5, 2, 8]), 10).tolist() == [1, 1, 2, 2, 0, 0]


def test_rows_are_full():
    """Lengths as those of Korean reviews in bytes: log-normal, median 70, half within 35 to 140."""
    lengths = np.random.default_rng(0).lognormal(np.log(70), 1.0, 20_000).astype(int) + 1
    row_of = best_fit(np.minimum(lengths, 1025), 1025)
    share = np.minimum(lengths, 1025).sum() / (1025 * (row_of.max() + 1))
    assert share > 0.999
    assert np.bincount(row_of, np.minimum(lengths, 1025)).max() <= 1025


def test_every_row_once_an_epoch_by_step(tmp_path, capsys):
    made = batches(stream([8] * 20), tmp_path)
    assert "Documents fill 100.00 % of 10 rows of 16 tokens" in capsys.readouterr().err
    chunk = made.chunk(0, made.steps_per_epoch)
    assert np.array_equal(chunk.tokens[3], made.at(3).tokens)
    assert len({row.tobytes() for row in chunk.tokens.reshape(-1, 16)}) == made.epoch_rows
    with pytest.raises(UserError, match="a batch needs 11 rows, and the documents fill 10"):
        batches(stream([8] * 20), tmp_path, least=11)


def test_the_plan_is_kept_and_made_again_if_it_is_damaged(tmp_path, monkeypatch):
    tokens = stream([3, 7, 5, 5, 2, 8] * 5)
    first = batches(tokens, tmp_path).plan
    (kept,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(packing, "best_fit", lambda *_: pytest.fail("it is planned again"))
        second = batches(tokens, tmp_path).plan
    assert all(np.array_equal(*pair) for pair in zip(first, second))
    data = bytearray(kept.read_bytes())
    data[-8] ^= 1
    kept.write_bytes(data)
    assert all(np.array_equal(*pair) for pair in zip(first, batches(tokens, tmp_path).plan))
    assert kept.read_bytes() != bytes(data)
