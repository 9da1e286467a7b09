"""lm-lab tokenize: train a tokenizer, tokenize a text, and see what came of it.

  lm-lab tokenize --config=configs/multi30k_de.py
  lm-lab tokenize --source=text --source.path=books --tokenizer=sentencepiece \\
      --tokenizer.pieces=8000 --out=books.vocabulary

  --config=FILE               the data section of a config; set keys with --config.data.key=value
  --source=NAME               or the text: lm-lab keys data.source.NAME lists its settings,
  --tokenizer=NAME            and the tokenizer, lm-lab keys data.tokenizer.NAME
  --vocabulary_file=FILE      what the tokenizer has learnt before, instead of this text
  --out=FILE                  write what it learns, for config.data.vocabulary_file
  --samples=3                 texts that are shown cut into tokens

A tokenizer that was learnt elsewhere is brought in by hugging_face, sentencepiece_file or tiktoken,
which read its files. Prints documents, tokens, bytes a token, what had no piece, how much of the
vocabulary is used, and lengths. The token store stays in the cache, where training finds it.
"""

import json
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from lm_lab.cli import arguments
from lm_lab.data import loader
from lm_lab.data.loader import Dataset, Sides, Split
from lm_lab.data.statistics import Statistics, in_parts, statistics
from lm_lab.data.text import Text
from lm_lab.runs import durable, reading
from lm_lab.schema import build
from lm_lab.types import Codec, UserError

FLAGS = flags.FlagValues()
VOCABULARY = flags.DEFINE_string("vocabulary_file", None, "learnt before", flag_values=FLAGS)
OUT = flags.DEFINE_string("out", None, "where to write it", flag_values=FLAGS)
SAMPLES = flags.DEFINE_integer(
    "samples", 3, "texts shown", lower_bound=0, upper_bound=1000, flag_values=FLAGS
)
SHADES = ("\x1b[48;5;24m", "\x1b[48;5;94m")  # backgrounds, in turn
PLAIN = "\x1b[0m"
LONGEST = 60  # tokens of a sample
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SIDE_NAMES = {"train": "train", "heldout": "held out", "test": "test"}


def run(argv: list[str]) -> int:
    """Prints the facts. Raises UserError."""
    text = Text(build(loader.Config, _data(argv), "config.data"))
    learnt = text.learnt_file
    for flag in (OUT, VOCABULARY):
        if flag.value is not None and learnt is None:
            given, name = f"--{flag.name}={flag.value}", text.config.tokenizer.name
            raise UserError(f"{given}: the tokenizer {name!r} learns nothing; leave it out")
    data = text.dataset
    text.say_splits()
    print(f"tokenizer {data.tokenizer.identity}, {data.vocab:,} ids")
    for label, sides in data.sources.items():
        print("\n".join(_facts(label, sides, data)))
        print("\n".join(_shown(sides.heldout, data.tokenizer)))
    if OUT.value is not None and learnt is not None:
        durable.atomic_write(arguments.path(OUT.value, "--out="), reading.read_bytes(learnt))
        print(f"wrote {OUT.value}; use it with --config.data.vocabulary_file={OUT.value}")
    return 0


def _data(argv: list[str]) -> dict[str, Any]:
    """The data section that the arguments describe. Raises UserError for one described twice."""
    source, argv = arguments.take_module(argv, "source")
    tokenizer, argv = arguments.take_module(argv, "tokenizer")
    has_config = any(word.lstrip("-").startswith("config") for word in argv)
    values: dict[str, Any] = {}
    if has_config:
        config, argv = arguments.take_config(argv)
        values = dict(config.to_dict().get("data", {}))
    if extra := arguments.parse(FLAGS, argv, "tokenize"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab tokenize --help")
    if not has_config and not source:
        raise UserError(
            "give --config=FILE or --source=NAME, as in --source=text --source.path=books"
        )
    for name, module in (("source", source), ("tokenizer", tokenizer)):
        if module and has_config and name == "source":
            raise UserError("give --config=FILE or --source=NAME, not both")
        if module:
            values[name] = module
    if VOCABULARY.value is not None:
        values["vocabulary_file"] = VOCABULARY.value
    return values


def _facts(label: str, sides: Sides, data: Dataset) -> Iterator[str]:
    """The lines about a source."""
    manifest = reading.read_object(sides.folder / "manifest.json", "delete the store")
    stored = manifest.get("statistics", {})
    yield f"{label or manifest['source']}: {manifest['documents']:,} documents, " + (
        f"{manifest['bytes']:,} bytes; token store {sides.folder}"
    )
    yield "            tokens  bytes a token  unknown tokens  their bytes  ids used"
    for split in (sides.train, sides.heldout, *filter(None, [sides.test])):
        stored_split = stored.get(split.name)
        facts = (
            Statistics(**stored_split)
            if stored_split
            else statistics(in_parts(split.tokens), data.tokenizer)
        )
        yield _row(SIDE_NAMES[split.name], facts, data)
    lengths = _lengths(sides.folder / "documents.jsonl")
    facts = np.quantile(lengths, QUANTILES)
    yield "tokens a document: " + ", ".join(
        f"{'longest' if share == 1 else f'{share:.0%}'} {value:,.0f}"
        for share, value in zip(QUANTILES, facts)
    )


def _row(name: str, facts: Statistics, data: Dataset) -> str:
    spelt = facts.unknown_bytes / max(facts.bytes, 1)
    return (
        f"{name:8} {facts.tokens:>9,}  {facts.bytes_per_token:>13.2f}  "
        f"{100 * facts.unknown_share:>12.2f} %  {100 * spelt:>9.2f} %  "
        f"{facts.ids:,} ({100 * facts.ids / data.vocab:.0f} %)"
    )


def _lengths(listing: Path) -> np.ndarray:
    """Tokens of each document, with their ends."""
    lengths = array("q")
    with listing.open("rb") as lines:
        for line in lines:
            lengths.append(json.loads(line)["tokens"])
    return np.array(lengths)


def _shown(split: Split, codec: Codec) -> Iterator[str]:
    """The first texts of a side, token by token."""
    ends = np.flatnonzero(split.tokens[: 2**20] == split.end_of_document)[: SAMPLES.value]
    for start, end in zip([0, *(ends[:-1] + 1)], ends):
        pieces = list(segments(codec, split.tokens[start:end].tolist()))
        yield (
            "  "
            + _coloured([_visible(piece) for piece in pieces[:LONGEST]])
            + (" ..." if len(pieces) > LONGEST else "")
        )


def segments(codec: Codec, ids: list[int]) -> Iterator[str]:
    """The text of each id; ids that are whole characters only together are joined."""
    group: list[int] = []
    for number in ids:
        group.append(number)
        text = codec.decode(group)
        if "\N{REPLACEMENT CHARACTER}" not in text:
            yield text
            group = []
    if group:
        yield codec.decode(group)


def _visible(piece: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in piece)


def _coloured(pieces: list[str]) -> str:
    """The pieces with alternating backgrounds on a terminal, else with bars between them."""
    if not sys.stdout.isatty():
        return "|".join(pieces)
    shaded = (f"{SHADES[place % 2]}{piece}" for place, piece in enumerate(pieces))
    return "".join(shaded) + PLAIN
