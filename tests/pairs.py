"""Small files of records, and the tiny runs that read them."""

from pathlib import Path
from typing import Any

WORDS = ["jump", "walk", "run", "look", "turn"]


def rows(count: int = 60) -> list[tuple[str, str]]:
    """Pairs of words and the same words backwards, all different."""
    texts = [
        [WORDS[(number // 5**place) % 5] for place in range(1 + number % 4)] + [f"n{number}"]
        for number in range(count)
    ]
    return [(" ".join(words), " ".join(words[::-1]).upper()) for words in texts]


def write(folder: Path, count: int = 60, heldout: int = 10) -> dict[str, Any]:
    """The `data` section that reads pairs written into a folder; the last ones are held out."""
    lines = ["\t".join(row) + "\n" for row in rows(count)]
    (folder / "train.tsv").write_text("".join(lines[:-heldout]))
    (folder / "heldout.tsv").write_text("".join(lines[-heldout:]))
    paths = {
        "data.source.path": str(folder / "train.tsv"),
        "data.source.heldout_path": str(folder / "heldout.tsv"),
    }
    return {**paths, "data.length": 16, "data.context_length": 20}


def run(folder: Path, **more: Any) -> dict[str, Any]:
    """Changes of tests.tiny's config that make it learn these pairs."""
    return {
        "objective": {"name": "seq2seq"},
        "data": {"source": "pairs", "tokenizer": {"name": "words", "least_count": 1}},
        **write(folder),
        **more,
    }
