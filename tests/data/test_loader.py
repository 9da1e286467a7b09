"""Batches are a function of the step: every target once an epoch, on any
host, after any restart.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lm_lab.data import loader
from lm_lab.data.sources import synthetic, text
from lm_lab.data.text import Text
from lm_lab.schema import Chosen
from lm_lab.types import UserError

REPOSITORY = Path(loader.__file__).resolve().parents[2]


def split_of(tokens, *, isolate=False, end=999):
    """A split over given ids; every id below `end` stands for one byte."""
    table = np.ones(1000, np.float32)
    table[end] = 0
    return loader.Split("train", np.asarray(tokens, np.uint16), table, end, isolate)


def make(split, **changes):
    """Batches of 3 windows of 5 tokens."""
    return loader.batches(
        split, **{"window": 5, "batch_size": 3, "seed": 0, "shuffle": True, **changes}
    )


def epoch_of_windows(batches):
    """The rows of the first epoch."""
    steps = -(-batches.epoch_rows // batches.batch_size)
    return batches.chunk(0, steps).tokens.reshape(-1, batches.window)[: batches.epoch_rows]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("size", [61, 62, 64, 65])
def test_every_token_is_a_target_once_an_epoch(size, shuffle):
    batches = make(split_of(np.arange(size)), shuffle=shuffle)
    targets = np.sort(epoch_of_windows(batches)[:, 1:].ravel())
    np.testing.assert_array_equal(targets, np.arange(1, 1 + 4 * ((size - 1) // 4)))


def test_stride_of_a_whole_window():
    batches = make(split_of(np.arange(65)), stride=5, shuffle=False)
    np.testing.assert_array_equal(epoch_of_windows(batches).ravel(), np.arange(65))


def test_unshuffled_is_the_text_in_order():
    first = make(split_of(np.arange(65)), shuffle=False).at(0)
    np.testing.assert_array_equal(
        first.tokens, [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9, 10, 11, 12]]
    )
    assert first.tokens.dtype == np.int32
    assert first.bytes.dtype == np.float32
    assert first.segments is None


def test_epochs_and_seeds_have_orders_of_their_own():
    def starts(seed, epoch):
        batches = make(split_of(np.arange(4 * 60 + 1)), seed=seed)
        assert batches.steps_per_epoch == 20
        return tuple(batches.chunk(20 * epoch, 20).tokens[..., 0].ravel().tolist())

    orders = [starts(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len({tuple(sorted(order)) for order in orders}) == 1
    assert len(set(orders)) == len(orders)


def test_chunk_is_the_steps_stacked():
    batches = make(split_of(np.random.default_rng(0).integers(0, 1000, 300), isolate=True))
    stacked = batches.chunk(7, 40)  # over the border of an epoch
    for row in range(40):
        single = batches.at(7 + row)
        for whole, part in zip(stacked[:3], single[:3]):
            assert whole is not None
            assert part is not None
            np.testing.assert_array_equal(whole[row], part)


def test_hosts_share_a_batch():
    split = split_of(np.arange(300))
    whole = make(split, batch_size=6).chunk(2, 30)
    parts = [
        make(split, batch_size=6, host_index=host, host_count=3).chunk(2, 30) for host in range(3)
    ]
    assert parts[0].tokens.shape == (30, 2, 5)
    np.testing.assert_array_equal(
        np.concatenate([part.tokens for part in parts], axis=1), whole.tokens
    )


def test_hosts_must_divide_the_batch():
    with pytest.raises(UserError, match=r"config\.train\.batch_size"):
        make(split_of(np.arange(300)), batch_size=5, host_count=2)


def test_bytes_travel_with_the_tokens():
    batch = make(split_of([1, 2, 999, 4, 5], end=999), batch_size=1).at(0)
    np.testing.assert_array_equal(batch.bytes, [[1, 1, 0, 1, 1]])


def test_segments_are_the_documents_of_a_row():
    batch = make(
        split_of([1, 999, 2, 999, 3, 4, 4, 4, 999], isolate=True), batch_size=2, shuffle=False
    ).at(0)
    assert batch.segments is not None
    np.testing.assert_array_equal(batch.segments, [[1, 1, 2, 2, 3], [1, 1, 1, 1, 1]])
    assert batch.segments.dtype == np.int32


@pytest.mark.parametrize("size", [1, 4, 12])
def test_too_little_text_for_a_batch(size):
    with pytest.raises(
        UserError, match=rf"config\.data\.length: the train text has {size} tokens.*lower"
    ):
        make(split_of(np.arange(size)))


def test_just_enough_text_for_a_batch():
    assert make(split_of(np.arange(13))).steps_per_epoch == 1


def test_dataset_of_a_config(tmp_path):
    source = synthetic.Config(documents=30, document_bytes=100)
    data = Text(loader.Config(source=Chosen("synthetic", source)), tmp_path).dataset
    assert (data.vocab, data.bytes_of.shape) == (257, (257,))
    assert len(data.train.tokens) + len(data.heldout.tokens) == 30 * 101
    for split, shuffle in itertools.product((data.train, data.heldout), (True, False)):
        batch = make(split, shuffle=shuffle, window=9, batch_size=4).at(3)
        assert batch.tokens.shape == batch.bytes.shape == (4, 9)
        np.testing.assert_array_equal(batch.bytes, batch.tokens != 256)


def test_identity_follows_the_text(tmp_path):
    def identity():
        source = Chosen("text", text.Config(str(tmp_path / "a.txt")))
        return Text(loader.Config(source=source, split="tail"), tmp_path).dataset.identity

    (tmp_path / "a.txt").write_text("some text")
    first = identity()
    assert identity() == first
    (tmp_path / "a.txt").write_text("Some text")
    assert identity() != first


def test_unknown_tokenizer_has_a_suggestion(tmp_path):
    with pytest.raises(UserError, match=r"config\.data\.tokenizer.*did you mean 'byte'"):
        _ = Text(loader.Config(tokenizer=Chosen("bytes", None)), tmp_path).dataset


RESTART = """
import hashlib, sys
from pathlib import Path
from lm_lab.data import loader
from lm_lab.data.sources import synthetic
from lm_lab.data.text import Text
from lm_lab.schema import Chosen
source = synthetic.Config(documents=30, document_bytes=100)
data = Text(loader.Config(source=Chosen("synthetic", source)), Path(sys.argv[1])).dataset
batches = loader.batches(data.train, window=9, batch_size=4, seed=3, shuffle=True)
rows = (batches.at(step).tokens.tobytes() for step in eval(sys.argv[2]))
print(*[hashlib.sha256(row).hexdigest() for row in rows])
"""


@pytest.mark.processes
def test_a_step_has_one_batch_in_any_process_and_order(tmp_path):
    def hashes(cache, steps):
        command = [sys.executable, "-c", RESTART, str(tmp_path / cache), steps]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True
        ).stdout.split()

    straight = hashes("one", "range(500)")
    assert len(set(straight)) == 500
    assert hashes("one", "range(499, 250, -1)") == straight[:250:-1]
    assert hashes("two", "[0, 250, 499]") == [straight[step] for step in (0, 250, 499)]


@pytest.mark.data
def test_tinyshakespeare_is_split_as_in_nanogpt(shared_data, tmp_path):
    source = Chosen("text", text.Config(str(shared_data / "tinyshakespeare" / "input.txt")))
    data = Text(loader.Config(source=source, split="tail"), tmp_path).dataset
    # nanoGPT, data/shakespeare_char/readme.md: 1,003,854 and 111,540 tokens; ours ends in
    # end_of_document.
    assert (len(data.train.tokens), len(data.heldout.tokens)) == (1_003_854, 111_540 + 1)
