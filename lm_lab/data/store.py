"""The token store: text tokenized once, in a sealed folder (runs/sealed.py) named by the hash of
all that decides its content.

<cache>/<key>/            a complete store
    manifest.json         its origin, the splits, size and SHA-256 of every file
    train.tokens, heldout.tokens (or all.tokens), bytes_of.u16, documents.jsonl
    test.tokens           where the source has a test
    train.index ...       for records: where each lies (data/records.py); train.labels ...,
                          heldout.texts.jsonl
<cache>/<key>.building/   a draft; its builder holds the lock, unless it was killed
<cache>/<key>.lock
<cache>/<key>.checked     notes that the files were verified (data/checking.py)
"""

import contextlib
import dataclasses
import json
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lm_lab.data.building import build_once
from lm_lab.data.checking import verify_once
from lm_lab.data.documents import Corpus, digest
from lm_lab.data.encoding import CHANGED
from lm_lab.data.records import Records
from lm_lab.data.selection import KEEP, NO_FILTER, Duplicates, Filter
from lm_lab.data.splits import Rule, SplitRule
from lm_lab.data.writing import tokens_of, write
from lm_lab.runs import reading, sealed
from lm_lab.runs.durable import make_folder
from lm_lab.types import Codec, DataForm, Side, UserError

FORMAT = 1


class Store(NamedTuple):
    """An open token store."""

    path: Path
    key: str  # hex; equal keys are equal tokens, splits and byte counts
    manifest: dict[str, Any]
    bytes_of: np.ndarray  # u16[vocab]: the number of UTF-8 bytes that each id stands for
    # Ids of all documents, each followed by end_of_document; memory-mapped, read-only.
    tokens: dict[Side, np.ndarray]  # by side
    records: dict[Side, Records] | None  # the same tokens as records; None: a stream

    @property
    def train(self) -> np.ndarray:
        """The tokens to train on."""
        return self.tokens["train"]

    @property
    def heldout(self) -> np.ndarray:
        """The tokens that are held out."""
        return self.tokens["heldout"]


def cache_directory() -> Path:
    """Where token stores are kept: $LM_LAB_CACHE/tokens, or lm_lab/tokens in $XDG_CACHE_HOME
    (default: ~/.cache).
    """
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("LM_LAB_CACHE") or shared / "lm_lab") / "tokens"


def build(
    corpus: Corpus,
    tokenizer: Codec,
    directory: Path | None = None,
    *,
    split: SplitRule = "documents",
    holdout_fraction: float = 0.1,
    filter: Filter = NO_FILTER,
    duplicates: Duplicates = KEEP,
    train_documents: int | None = None,
) -> Store:
    """Opens the token store of a corpus in `directory` (default: cache_directory()); builds it
    there first if it does not exist.

    The hash of the corpus names it, so a changed text is another store. Any number of processes may
    call this at once: one builds, the others wait. Raises UserError for faulty text, an empty
    split, a directory that cannot be written, and a damaged store.
    """
    directory = cache_directory() if directory is None else directory
    rule = Rule(split, holdout_fraction, filter, duplicates, train_documents)
    facts = {
        "format": FORMAT,
        "text": corpus.fingerprint,
        "tokenizer": tokenizer.identity,
        "split": split,
        "holdout_fraction": holdout_fraction,
        **rule.facts,
    }
    kind = corpus.form
    if kind != "stream":
        facts["records"] = kind
    key = digest([json.dumps(facts, sort_keys=True)])[:32]
    path = directory / key
    if not path.exists():
        with _writable(directory), build_once(path, path.exists, resumable=True) as draft:
            if draft is not None:
                draft.mkdir(exist_ok=True)
                written = write(draft, corpus.read, tokenizer, rule, kind)
                if corpus.hash() != facts["text"]:
                    raise UserError(f"config.data.source: the text of {corpus.name!r} {CHANGED}")
                origin = _origin(corpus, tokenizer)
                sealed.write_manifest(draft, facts | origin | written, _digest)
    return _open(path, key, facts)


def heldout_text(path: Path) -> str:
    """Digest of the documents that a token store holds out, in their order, whatever its tokenizer;
    where the end of a text is held out, of the whole text and of the share.
    """
    manifest = reading.read_object(path / "manifest.json", "delete the store")
    file = manifest["splits"]["heldout"]["file"]
    with (path / "documents.jsonl").open("rb") as lines:
        entries = map(json.loads, lines)
        hashes = [entry["sha256"] for entry in entries if entry["file"] == file]
    is_tail = manifest["splits"]["train"]["file"] == file
    return digest([*hashes, *([str(manifest.get("holdout_fraction"))] if is_tail else [])])


def _origin(corpus: Corpus, tokenizer: Codec) -> dict[str, Any]:
    """The fields of the manifest that are for people, and do not decide the key."""
    return {
        "source": corpus.name,
        "source_config": dataclasses.asdict(corpus.settings),
        "vocab": tokenizer.vocab,
        "end_of_document": tokenizer.end_of_document,
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }


@contextlib.contextmanager
def _writable(directory: Path) -> Iterator[None]:
    """Turns an OSError of the block into a UserError; sources raise their own."""
    try:
        make_folder(directory)
        yield
    except OSError as error:
        raise UserError(
            f"cannot write the token store in {directory} ({error.strerror}); set LM_LAB_CACHE to "
            "a folder that is writable and has room"
        ) from None


def _digest(content: Mapping[str, Any]) -> str:
    """The fingerprint in the manifest of a token store."""
    return digest([json.dumps(content, sort_keys=True)])


def _open(path: Path, key: str, facts: Mapping[str, Any]) -> Store:
    try:
        # The first release wrote no fingerprint into manifests.
        manifest, files = sealed.read_manifest(path, _digest, required=False)
        _check_facts(path, manifest, json.loads(json.dumps(facts)))
        verify_once(path, files)
        bytes_of = np.fromfile(path / "bytes_of.u16", "<u2")
        tokens = {
            name: tokens_of(path, place, manifest["dtype"])
            for name, place in manifest["splits"].items()
        }
        kind = manifest.get("records")
        records = None if kind is None else {name: _records(path, name, kind) for name in tokens}
    except sealed.Damaged as fault:
        raise UserError(
            f"the token store {path} is damaged ({fault}); delete it and run again"
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"the token store {path} cannot be read ({error}); delete it and run again"
        ) from None
    return Store(path, key, manifest, bytes_of, tokens, records)


def _check_facts(path: Path, manifest: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Raises UserError for a store that is not what its name says, as one that was renamed."""
    for name, value in facts.items():
        if (there := manifest.get(name, value)) != value:
            raise UserError(
                f"the token store {path} is of another {name} ({there!r:.60}, and {value!r:.60} is "
                "asked for); delete it and run again"
            )


def _records(path: Path, name: str, kind: DataForm) -> Records:
    labels = path / f"{name}.labels"
    values = np.fromfile(labels, "<f4").astype(np.float32) if labels.exists() else None
    places = np.fromfile(path / f"{name}.index", "<i8")
    return Records(places.reshape(-1, 4 if kind == "preferences" else 3), values)
