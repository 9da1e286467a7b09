"""Best fit: every token once, no document cut that fits into a row, few tokens of padding."""

import errno
import shutil

import numpy as np
import pytest

from lm_lab.data import best_fit as planning
from lm_lab.data import packed_rows
from lm_lab.data.best_fit import best_fit, kept_plan, parts_of
from lm_lab.data.packing import packed_batches
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
    return packed_batches(tokens, sizes, END, **({"store": tmp_path / "key"} | settings))


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


@pytest.mark.parametrize("seed", range(8))
def test_parts_of_one_size_together_are_placed_as_one_by_one(seed):
    draw = np.random.default_rng(seed)
    window = int(draw.integers(1, 40))
    sizes = draw.integers(1, 1 + draw.integers(1, 1 + window), 150)
    assert best_fit(sizes, window).tolist() == one_by_one(sizes.tolist(), window)


def one_by_one(sizes, window):
    """The fullest row with room for each part, the longest first; of several the one that was
    changed last.
    """
    row_of, left, changed = [-1] * len(sizes), [], []
    for turn, part in enumerate(sorted(range(len(sizes)), key=lambda part: -sizes[part])):
        fits = [row for row, room in enumerate(left) if room >= sizes[part]]
        if not fits:
            fits = [len(left)]
            left.append(window)
            changed.append(turn)
        row = row_of[part] = min(fits, key=lambda row: (left[row], -changed[row]))
        left[row] -= sizes[part]
        changed[row] = turn
    return row_of


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


def plain(tokens, tmp_path):
    """The rows as the plan gathers them from the documents."""
    plan = kept_plan(tokens, END, tmp_path / "other", 16, 15)
    return plan.gather(tokens, 16, np.arange(plan.size))


def folder(tmp_path):
    (rows,) = tmp_path.glob("key.rows-16-15")
    return rows


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_rows_that_are_kept_are_those_of_the_documents(tmp_path, monkeypatch, kind):
    """Rows of one document, of many, of a window of a long one, and with padding."""
    monkeypatch.setattr(packed_rows, "AT_ONCE", 40)
    lengths = [40, 16, *[1] * 20, *np.random.default_rng(0).integers(1, 17, 30).tolist()]
    tokens = (stream(lengths) % 250).astype(kind)
    expected = plain(tokens, tmp_path)
    for _ in range(2):  # made, then opened
        made = batches(tokens, tmp_path)
        np.testing.assert_array_equal(made.gather(np.arange(made.epoch_rows)), expected)
        chunk = made.chunk(3, 4)
        for part in (chunk.tokens, chunk.segments):
            assert part.dtype == np.int32
        monkeypatch.setattr(packed_rows, "kept_plan", lambda *_: pytest.fail("planned again"))
    assert {file.name for file in tmp_path.iterdir()} >= {"key.rows-16-15", "key.fit-16-15"}
    assert (folder(tmp_path) / "segments").stat().st_size == 16 * made.epoch_rows


def test_a_row_may_have_more_parts_than_a_byte_counts(tmp_path):
    made = batches(stream([1] * 600), tmp_path, window=300, stride=299)
    assert np.array_equal(made.gather(np.arange(2))[1], [np.arange(1, 301)] * 2)


def flip(file):
    data = bytearray(file.read_bytes())
    data[-8] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("damaged", ["tokens", "segments", "manifest.json", "lost", "moved"])
def test_damaged_rows_are_made_again(tmp_path, capsys, damaged):
    tokens = stream([3, 7, 5, 5, 2, 8] * 5)
    batches(tokens, tmp_path)
    if damaged == "lost":
        (folder(tmp_path) / "tokens").unlink()
    elif damaged == "moved":
        batches(stream([4] * 40), tmp_path, store=tmp_path / "moved")
        shutil.rmtree(folder(tmp_path))
        (tmp_path / "moved.rows-16-15").rename(tmp_path / "key.rows-16-15")
    else:
        flip(folder(tmp_path) / damaged)
    capsys.readouterr()
    made = batches(tokens, tmp_path)
    np.testing.assert_array_equal(made.gather(np.arange(made.epoch_rows)), plain(tokens, tmp_path))
    said = capsys.readouterr().err
    assert said.count("\n") == 2
    assert "key.rows-16-15 are damaged (" in said
    batches(tokens, tmp_path)
    assert "damaged" not in capsys.readouterr().err


def test_a_kill_leaves_nothing_half_made(tmp_path, monkeypatch):
    """The draft of a process that ends at once is no folder of rows, and the next one is whole."""
    tokens = stream([3, 7, 5, 5, 2, 8] * 5)
    (tmp_path / "key.rows-16-15.building").mkdir()
    (tmp_path / "key.rows-16-15.building" / "tokens").write_bytes(b"half")
    (tmp_path / "key.rows-9-8.building").mkdir()
    made = batches(tokens, tmp_path)
    np.testing.assert_array_equal(made.gather(np.arange(made.epoch_rows)), plain(tokens, tmp_path))
    assert not list(tmp_path.glob("*.building"))


@pytest.mark.parametrize("fault", ["full", "fills up", "read-only"])
def test_rows_that_cannot_be_kept_are_gathered(tmp_path, capsys, monkeypatch, fault):
    tokens = stream([3, 7, 5, 5, 2, 8] * 5)

    def refused(*_, **__):
        raise OSError(errno.ENOSPC if fault == "fills up" else errno.EROFS, "refused")

    if fault == "full":
        usage = shutil.disk_usage(tmp_path)._replace(free=100)
        monkeypatch.setattr(packed_rows.shutil, "disk_usage", lambda _: usage)
    elif fault == "fills up":
        monkeypatch.setattr(packed_rows.HashingFile, "write", refused)
    else:
        monkeypatch.setattr(packed_rows, "build_once", refused)
    made = batches(tokens, tmp_path)
    np.testing.assert_array_equal(made.gather(np.arange(made.epoch_rows)), plain(tokens, tmp_path))
    said = capsys.readouterr().err
    assert said.count("\n") == 2
    assert "cannot be kept in" in said
    assert "LM_LAB_CACHE" in said
    assert not [*tmp_path.glob("*.building"), *tmp_path.glob("key.rows-16-15")]


def test_the_plan_is_kept_and_made_again_if_it_is_damaged(tmp_path, monkeypatch):
    tokens = stream([3, 7, 5, 5, 2, 8] * 5)
    first = plan_of(tokens, tmp_path)
    (kept,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(planning, "best_fit", lambda *_: pytest.fail("it is planned again"))
        second = plan_of(tokens, tmp_path)
    assert all(np.array_equal(*pair) for pair in zip(first, second))
    flip(kept)
    data = kept.read_bytes()
    assert all(np.array_equal(*pair) for pair in zip(first, plan_of(tokens, tmp_path)))
    assert kept.read_bytes() != data


def plan_of(tokens, tmp_path):
    return kept_plan(tokens, END, tmp_path / "key", 16, 15)
