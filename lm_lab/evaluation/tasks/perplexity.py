"""The likelihood of whole texts: perplexity by word as published tables have it, and bits per byte.

Intervals are over objects of JSON lines, or lines of text, each with the blank ones behind it.
A table's perplexity is exp(nats of the whole text / its words), whatever the tokens of the model:

    penn_treebank   words are separated by white space, and the end of every line is one more, <eos>
    wikitext        (WikiText-2, -103; 1609.07843) the same
    words           words alone, as lm_eval's word_perplexity

So counted, the published test files have some 82 and 246 thousand words; nothing here counted
them. The files hold <unk> as a word; text that was prepared otherwise (detokenized, with rare
words spelt out) has another perplexity, and belongs in no row of these tables.

A model that sees both sides of a token has a pseudo-likelihood (1910.14659), which is no likelihood
of the text: its metrics begin with pseudo_.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from lm_lab.contracts import EvalTask, Scores, TextModel
from lm_lab.evaluation.tasks import _records
from lm_lab.schema import setting
from lm_lab.types import UserError

Protocol = Literal["penn_treebank", "wikitext", "words"]


@dataclass(frozen=True)
class Config:
    """The texts, and how their words are counted."""

    path: str = setting("a text, JSON lines, or a folder of either: each file is a source")
    text: str = setting("field of the text in JSON lines", "text")
    protocol: Protocol = setting("what is counted as a word", "wikitext")


def prepare(config: Config) -> Callable[[TextModel], Scores]:
    """Reads the texts. Raises UserError for one without words."""
    sources = {file.stem: _documents(file, config) for file in _files(config.path)}
    empty = [name for name, (texts, _) in sources.items() if not any(map(str.strip, texts))]
    if empty or not sources:
        raise UserError(f"path: {config.path!r} holds no text ({', '.join(empty)}); give some")
    return partial(_measure, sources, config.protocol)


def _files(path: str) -> list[Path]:
    place = Path(path).expanduser()
    if place.is_dir():
        return sorted(file for file in place.iterdir() if file.is_file())
    if not place.is_file():
        raise UserError(f"path: no file or folder {path!r} (from {Path.cwd()}); give one")
    return [place]


def _documents(file: Path, config: Config) -> tuple[list[str], bool]:
    """(documents, whether each follows the one before): objects of JSON lines, or lines of text."""
    if file.name.endswith(_records.SUFFIXES):
        records = _records.read(str(file))
        return [record.field(config.text, str) for record in records], False
    *lines, last = _records.text_of(str(file)).split("\n")
    return [*(f"{line}\n" for line in lines), *([last] if last else [])], True


def words(text: str, protocol: Protocol) -> int:
    """The words of a text, by the protocol of a table.

    >>> words(" no it was n't <unk> \\n \\n", "wikitext"), words(" no it \\n", "words")
    (7, 2)
    """
    lines = 0 if protocol == "words" else text.count("\n") + (not text.endswith("\n"))
    return len(text.split()) + lines


def _measure(
    sources: Mapping[str, tuple[Sequence[str], bool]], protocol: Protocol, model: TextModel
) -> Scores:
    rows = []
    for number, (texts, joined) in enumerate(sources.values()):
        for text, likelihood in zip(texts, model.texts(texts, joined), strict=True):
            counts = {"tokens": likelihood.tokens, "bytes": len(text.encode())}
            counts |= {"words": words(text, protocol), "source": number}
            rows.append({"nats": -likelihood.nats, **counts})
            is_first = len(rows) < 2 or rows[-2]["source"] != number
            if joined and not text.strip() and not is_first:
                blank, row = rows.pop(), rows[-1]
                row |= {name: row[name] + blank[name] for name in row if name != "source"}
    has_lines = any(joined for _, joined in sources.values())
    unit = "lines of text" if has_lines else "documents"
    prefix = "pseudo_" if model.pseudo else ""
    return Scores(_records.columns(rows), partial(_metrics, list(sources), prefix), unit)


def _metrics(
    names: Sequence[str], prefix: str, statistics: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Metrics of all documents; of several sources also the bits per byte of each."""
    total = {name: np.float64(values.sum()) for name, values in statistics.items()}
    # documents that are drawn may all be empty: then there is no mean
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        metrics = {
            f"{prefix}word_perplexity": float(np.exp(total["nats"] / total["words"])),
            f"{prefix}nll": float(total["nats"] / total["tokens"]),
            f"{prefix}bits_per_byte": float(total["nats"] / np.log(2) / total["bytes"]),
        }
    if len(names) == 1:
        return metrics
    for number, name in enumerate(names):
        of = statistics["source"] == number
        size = float(statistics["bytes"][of].sum())
        bits = float(statistics["nats"][of].sum()) / np.log(2)
        metrics[f"{name}/{prefix}bits_per_byte"] = bits / size if size else np.nan
    return metrics


TASK = EvalTask(Config, prepare, needs=("texts",))
