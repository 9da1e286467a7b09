"""Finds the tokenizer for the files beside a model of transformers, and its special tokens."""

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sentencepiece

from lm_lab import registry
from lm_lab.runs import reading
from lm_lab.runs.reading import read_object
from lm_lab.schema import build
from lm_lab.train.carried import SETTINGS
from lm_lab.types import UserError

Section = dict[str, Any]

# Texts of these begin with <s>, unless tokenizer_config.json says otherwise.
BEGUN = ("llama", "mistral", "mixtral", "gemma", "recurrent_gemma")


def find(folder: Path) -> tuple[Section, str]:
    """(a config's data.tokenizer for the folder's tokenizer, ""), or ({}, why there is none)."""
    facts = Facts(folder)
    reasons = []
    for make in (_of_library, _of_two, _of_one):
        for section in make(folder, facts):
            try:
                _try(section)
            except UserError as error:
                reasons.append(str(error))
                continue
            return section, ""
    return {}, reasons[0] if reasons else "there is no file of one"


class Facts:
    """Facts about the tokenizer in a folder's config.json,
    generation_config.json, tokenizer_config.json.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the files. Raises UserError for one that is no JSON object."""
        self.model = special_ids(folder) | {
            "model_type": _read(folder / "config.json").get("model_type")
        }
        self.tokenizer = _read(folder / "tokenizer_config.json")

    @property
    def end(self) -> int | None:
        """The id that ends a text; the first of several."""
        end = self.model.get("eos_token_id")
        return end[0] if isinstance(end, list) and end else end if isinstance(end, int) else None

    def token(self, name: str) -> str | None:
        """The text of a special token, such as "eos_token"."""
        value = self.tokenizer.get(name)
        value = value.get("content") if isinstance(value, Mapping) else value
        return value if isinstance(value, str) else None


def special_ids(folder: Path) -> dict[str, Any]:
    """The special ids of config.json, or of generation_config.json where that has none."""
    ids_by_name: dict[str, Any] = {}
    for name in reversed(SETTINGS):
        ids = {
            key: value for key, value in _read(folder / name).items() if key.endswith("_token_id")
        }
        ids_by_name |= {
            key: value for key, value in ids.items() if value is not None or key not in ids_by_name
        }
    return ids_by_name


def _read(path: Path) -> dict[str, Any]:
    return read_object(path, "mend it, or leave it out") if path.exists() else {}


def _try(section: Section) -> None:
    """Raises UserError if the tokenizer cannot be made."""
    maker = registry.load("data.tokenizers", section["name"], "config.data.tokenizer")
    settings = {name: value for name, value in section.items() if name != "name"}
    maker.make(build(maker.Config, settings, "config.data.tokenizer"), b"")


def _of_library(folder: Path, facts: Facts) -> Iterator[Section]:
    """The data.tokenizer section for a file that the tokenizers library reads."""
    has_pairs = (folder / "merges.txt").exists()
    for name in ("tokenizer.json", "vocab.txt", *(["vocab.json"] if has_pairs else [])):
        path = folder / name
        if not path.exists():
            continue
        if importlib.util.find_spec("tokenizers") is None:
            raise UserError(
                f"{path}: reading it needs the tokenizers library; install lm_lab[interop]"
            )
        end = _special(path, facts.end) or facts.token("eos_token") or facts.token("sep_token")
        section = {"name": "hugging_face", "tokenizer_file": str(path), "framed": True}
        if _changes_text(path):
            section["normalised"] = True
        yield section | {"end_token": end}
        if end is not None:  # tokens that the file may not mark as special
            yield section


def _changes_text(path: Path) -> bool:
    """Whether a byte-level tokenizer.json has a normaliser: its model knows the ids of no other
    form of a text.
    """
    facts = _facts(path)
    kinds = set(re.findall(r'"type": "(\w+)"', json.dumps(facts.get("normalizer"))))
    level = json.dumps(facts.get("pre_tokenizer"))
    return "ByteLevel" in level and bool(kinds - {"Sequence"})


def _special(path: Path, number: int | None) -> str | None:
    """The special token with that id in a tokenizer.json."""
    try:
        return next(
            (
                token["content"]
                for token in _facts(path).get("added_tokens") or ()
                if token["id"] == number and token["special"]
            ),
            None,
        )
    except (TypeError, KeyError):
        return None  # the tokenizer itself reports what is wrong with the file


def _facts(path: Path) -> dict[str, Any]:
    """A tokenizer.json; {} of another file, and where the tokenizer itself reports what is wrong
    with it.
    """
    if path.name != "tokenizer.json":
        return {}
    try:
        facts = json.loads(reading.read_bytes(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _of_two(folder: Path, facts: Facts) -> Iterator[Section]:
    """The data.tokenizer section for MarianMT's two SentencePiece models."""
    names = {
        "tokenizer_file": "source.spm",
        "target_file": "target.spm",
        "vocab_file": "vocab.json",
    }
    if not (folder / "source.spm").exists():
        return
    if (folder / "target_vocab.json").exists():
        return  # sources and targets have separate ids, and so two embeddings
    end = facts.token("eos_token") or "</s>"
    yield {"name": "sentencepiece_file", "end_token": end} | {
        key: str(folder / names[key]) for key in names
    }


def _control(path: Path, number: Any) -> str | None:
    """The special piece with that id in a SentencePiece model."""
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    except (OSError, RuntimeError):
        return None  # the tokenizer itself reports what is wrong with the file
    is_id = isinstance(number, int) and 0 <= number < processor.GetPieceSize()
    return processor.IdToPiece(number) if is_id and processor.IsControl(number) else None


def _of_one(folder: Path, facts: Facts) -> Iterator[Section]:
    """The data.tokenizer section for one SentencePiece model, whose ids are the model's."""
    for name in ("spiece.model", "tokenizer.model"):
        if not (folder / name).exists():
            continue
        kind = facts.model["model_type"]
        section: Section = {"name": "sentencepiece_file", "tokenizer_file": str(folder / name)}
        end = _control(folder / name, facts.end) or facts.token("eos_token") or "</s>"
        begin = (
            _control(folder / name, facts.model.get("bos_token_id"))
            or facts.token("bos_token")
            or "<s>"
        )
        is_begun = facts.tokenizer.get("add_bos_token", kind in BEGUN)
        extra = facts.tokenizer.get("extra_ids", 100 if kind == "t5" else 0)
        yield section | {
            "end_token": end,
            "begin_token": begin if is_begun else None,
            "sentinels": extra,
        }
