"""Encoding and loading, against the libraries and the memory map below them.

Encoding: megabytes a second of each tokenizer's encode_batch, and of the library's own batch call,
which returns lists, on the lines of --text and on every 10 lines together. Loading: tokens a second
of what a run trains on, in chunks of 8 steps of 32 rows of 1,024 tokens, cut and best fit; and of
the bare gather of as many rows at random places of the memory map, as int32. Building: the lines
as JSON lines into a token store, by SentencePiece: seconds of all threads, and of the one that
reads and writes, whose share bounds what more cores save. Seconds are those of the CPU, of all
threads, for a busy machine stretches the others.
"""

import base64
import json
import os
import sysconfig
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece as library_of_pieces
import tokenizers as hugging_face_library
from tiktoken import Encoding
from tiktoken import load as tiktoken_files

from lm_lab.data import loader, mixture, packing, store
from lm_lab.data.documents import Corpus
from lm_lab.data.loader import Split
from lm_lab.data.sources import jsonl
from lm_lab.data.tokenizers import (
    _library,
    byte,
    characters,
    hugging_face_learnt,
    sentencepiece,
    tiktoken,
    words,
)
from lm_lab.data.weights import points
from lm_lab.types import Codec
from tools.benchmarks.results import Row, rates
from tools.benchmarks.turns import alternate, timed

ROWS, LENGTH, STEPS, TOKENS = 32, 1024, 8, 2**24


def add_flags(parser: ArgumentParser) -> None:
    words = "a UTF-8 file whose lines are encoded; default: Python's own modules"
    parser.add_argument("--text", type=Path, help=words)
    parser.add_argument("--megabytes", type=float, default=4, help="of it")


def run(flags: Namespace) -> Iterator[Row]:
    most = int((1 if flags.quick else flags.megabytes) * 1e6)
    lines = _text(flags.text, most).decode(errors="ignore").splitlines()
    count = 1000 if flags.quick else 8000
    yield from encoding(lines, count, flags.rounds)
    with tempfile.TemporaryDirectory() as folder:
        yield from loading(Path(folder), flags.rounds)
        yield from building(Path(folder), lines, count, flags.rounds)


def _text(path: Path | None, most: int) -> bytes:
    if path is not None:
        with path.open("rb") as file:
            return file.read(most)
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return b"\n".join(module.read_bytes() for module in modules)[:most]


def compare(
    name: str, unit: str, amount: float, rounds: int, ours: Any, theirs: Any, versus: str
) -> list[Row]:
    clock = time.process_time
    turns = {"lm_lab": timed(ours, clock), versus: timed(theirs, clock)}
    return rates(name, unit, amount, "lm_lab", alternate(turns, rounds))


def encoding(texts: list[str], count: int, rounds: int) -> Iterator[Row]:
    """Every tokenizer's encode_batch, beside the library's batch call."""
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    together = ["\n".join(texts[first : first + 10]) for first in range(0, len(texts), 10)]
    for kind in ("unigram", "bpe"):
        config = sentencepiece.Config(pieces=count, kind=kind)
        learnt = sentencepiece.learn(config, iter(texts[:20_000]))
        processor = library_of_pieces.SentencePieceProcessor(model_proto=learnt)
        codec = sentencepiece.make(config, learnt)

        def pieces(documents: Sequence[str], processor: Any = processor) -> Any:
            return processor.Encode(documents, num_threads=-1)

        yield from beside(f"sentencepiece {kind}", megabytes, rounds, codec, pieces, texts)
        yield from beside(
            f"sentencepiece {kind}, 10 lines", megabytes, rounds, codec, pieces, together
        )
    learnt = hugging_face_learnt.learn(hugging_face_learnt.Config(), iter(texts[:20_000]))
    theirs = hugging_face_library.Tokenizer.from_str(learnt.decode())
    codec = hugging_face_learnt.make(hugging_face_learnt.Config(), learnt)

    def ids(documents: Sequence[str]) -> Any:
        encoded = theirs.encode_batch_fast(documents, add_special_tokens=False)
        return [found.ids for found in encoded]

    yield from beside("hugging_face_learnt bpe", megabytes, rounds, codec, ids, texts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ranks.tiktoken")
        path.write_bytes(ranks_of(learnt))
        codec = tiktoken.make(tiktoken.Config(str(path), "r50k"))
        ranks = tiktoken_files.load_tiktoken_bpe(str(path))
    pattern = tiktoken.PATTERNS["r50k"][0]
    core = Encoding("bench", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})

    def numbers(documents: list[str]) -> Any:
        return core.encode_ordinary_batch(documents, num_threads=os.cpu_count() or 1)

    yield from beside("tiktoken", megabytes, rounds, codec, numbers, texts)
    yield from beside("tiktoken, 10 lines", megabytes, rounds, codec, numbers, together)
    for module in (byte, characters, words):
        learn = module.TOKENIZER.learn
        learnt = b"" if learn is None else learn(module.Config(), iter(texts[:20_000]))
        made = module.make(module.Config(), learnt)
        alone = {"lm_lab": timed(partial(made.encode_batch, texts), time.process_time)}
        name = f"encode, {module.__name__.rpartition('.')[2]}"
        yield from rates(name, "MB/s", megabytes, "lm_lab", alternate(alone, rounds))


def ranks_of(learnt: bytes) -> bytes:
    """A byte-level BPE's tokenizer.json as a .tiktoken file, without its special token."""
    vocab, letters = json.loads(learnt)["model"]["vocab"], _library.letters()
    pieces = [piece for piece in sorted(vocab, key=vocab.get) if set(piece) <= letters.keys()]
    pieces = [piece for piece in pieces if piece != hugging_face_learnt.END]
    texts = (bytes(letters[letter] for letter in piece) for piece in pieces)
    return b"".join(base64.b64encode(text) + b" %d\n" % n for n, text in enumerate(texts))


def beside(
    name: str, megabytes: float, rounds: int, codec: Codec, library: Any, texts: list[str]
) -> list[Row]:
    """A tokenizer's encode_batch, beside the library's batch call on the same texts."""
    own, theirs = partial(codec.encode_batch, texts), partial(library, texts)
    return compare(f"encode, {name}", "MB/s", megabytes, rounds, own, theirs, "the library")


def loading(folder: Path, rounds: int) -> Iterator[Row]:
    """Chunks that a run trains on, beside the bare gather of as many rows."""
    draw = np.random.default_rng(0)
    path = folder / "train.tokens"
    ids = draw.integers(0, 8000, TOKENS, np.uint16)
    ids[np.cumsum(draw.integers(5, 120, TOKENS // 80))[: TOKENS // 80]] = 8000
    ids.tofile(path)
    tokens = np.memmap(path, np.uint16, "r").view(np.ndarray)
    split = Split("train", tokens, np.ones(8001, np.float32), 8000, False)
    window, places = LENGTH + 1, np.arange(STEPS * ROWS)
    cut = loader.batches(split, window=window, batch_size=ROWS, seed=0, shuffle=True)
    fit = packing.packed_batches(
        tokens,
        split.bytes_of,
        8000,
        store=folder / "key",
        window=window,
        stride=LENGTH,
        batch_size=ROWS,
        least=1,
        seed=0,
    )
    every = np.lib.stride_tricks.sliding_window_view(tokens, window)
    firsts = draw.integers(0, len(every) - 1, (50, len(places)))
    step = iter(range(10**9))

    def bare() -> np.ndarray:
        return every[firsts[next(step) % 50]].astype(np.int32)

    for name, batches in (("cut", cut), ("best fit", fit)):
        trained_on = mixture.mix([batches], [points(1.0)], ROWS)
        yield from compare(
            f"load, {name}",
            "M tokens/s",
            STEPS * ROWS * LENGTH / 1e6,
            rounds * 5,
            lambda trained_on=trained_on: trained_on.chunk(STEPS * (next(step) % 50), STEPS),
            bare,
            "bare gather",
        )


def building(folder: Path, texts: list[str], count: int, rounds: int) -> Iterator[Row]:
    """A token store of short texts: the quickest of the rounds."""
    source = folder / "texts.jsonl"
    source.write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts if text.strip()))
    config = sentencepiece.Config(pieces=count)
    codec = sentencepiece.make(config, sentencepiece.learn(config, iter(texts[:20_000])))
    corpus = Corpus("jsonl", jsonl.Config(str(source)))

    def work(number: int) -> tuple[float, float]:
        begin, own = time.process_time(), time.thread_time()
        store.build(corpus, codec, folder / str(number))
        return time.process_time() - begin, time.thread_time() - own

    every, own = min(map(work, range(rounds + 1)))
    name = f"build a store of {len(texts):,} texts"
    yield Row(name, "s of CPU", every)
    yield Row(f"{name}, reading and writing", "s of CPU", own)
