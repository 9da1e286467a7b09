"""The token store: text tokenized once, in a folder named by the hash of all that decides it.

<cache>/<key>/            complete: it was renamed into place
    manifest.json         its sources and settings, the splits, size and SHA-256 of every file
    train.tokens, heldout.tokens (or all.tokens), bytes_of.u16, documents.jsonl
    train.index ...       of records: where each lies (data/records.py);
                          also train.labels ..., heldout.texts.jsonl
<cache>/<key>.building/   being built, or left by a killed process: then its lock is free
<cache>/<key>.lock
<cache>/<key>.checked     notes that its files were hashed and are intact (data/checking.py)
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lm_lab.data.checking import check_files, damaged
from lm_lab.data.documents import Corpus, digest
from lm_lab.data.records import Records
from lm_lab.data.writing import CHANGED, Rule, SplitRule, write
from lm_lab.runs import durable
from lm_lab.types import Codec, UserError

FORMAT = 1


class Store(NamedTuple):
    """An open token store."""

    path: Path
    key: str  # hex; equal keys are equal tokens, splits and byte counts
    manifest: dict[str, Any]
    bytes_of: np.ndarray  # u16[vocab]: the UTF-8 bytes that each id stands for
    train: (
        np.ndarray
    )  # ids of all documents, each followed by end_of_document; memory-mapped, read-only
    heldout: np.ndarray
    records: (
        dict[str, Records] | None
    )  # the same tokens as records, by side; None: they are a stream


def cache_directory() -> Path:
    """The folder of token stores: $LM_LAB_CACHE, else lm_lab in
    $XDG_CACHE_HOME, else ~/.cache/lm_lab.
    """
    own = os.environ.get("LM_LAB_CACHE")
    shared = os.environ.get("XDG_CACHE_HOME")
    base = Path(own) if own else (Path(shared) if shared else Path.home() / ".cache") / "lm_lab"
    return base / "tokens"


def build(
    corpus: Corpus,
    tokenizer: Codec,
    directory: Path | None = None,
    *,
    split: SplitRule = "documents",
    holdout_fraction: float = 0.1,
) -> Store:
    """Opens the token store of a corpus in `directory` (default:
    cache_directory()); builds it first.

    The hash of the corpus names it, so a changed text gets another store. Any number of processes
    may call this at once: one builds, the others wait. Raises UserError for faulty text, a split
    that leaves a side empty, a directory that cannot be written, and a store whose files do not
    match its manifest.
    """
    directory = cache_directory() if directory is None else directory
    facts = {
        "format": FORMAT,
        "text": corpus.fingerprint,
        "tokenizer": tokenizer.identity,
        "split": split,
        "holdout_fraction": holdout_fraction,
    }
    kind = corpus.source.provides
    if kind != "stream":
        facts["records"] = kind
    key = digest([json.dumps(facts, sort_keys=True)])[:32]
    path = directory / key
    if not path.exists():
        with _writable(directory), _locked(directory, key) as folder:
            if folder is not None:
                rule = Rule(split, holdout_fraction)
                written = write(folder, corpus.read, tokenizer, rule, kind)
                if corpus.hash() != facts["text"]:
                    raise UserError(f"config.data.source: the text of {corpus.name!r} {CHANGED}")
                _seal(folder, facts | _origin(corpus, tokenizer) | written, path)
    return _open(path, key)


def _origin(corpus: Corpus, tokenizer: Codec) -> dict[str, Any]:
    """Facts for the manifest's reader that do not belong to the key."""
    return {
        "source": corpus.name,
        "source_config": dataclasses.asdict(corpus.settings),
        "vocab": tokenizer.vocab,
        "end_of_document": tokenizer.end_of_document,
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }


@contextlib.contextmanager
def _writable(directory: Path) -> Iterator[None]:
    """Turns errors of the file system into UserError. (Sources raise
    their own for what they read.)
    """
    try:
        durable.make_folder(directory)
        yield
    except OSError as error:
        raise UserError(
            f"cannot write the token store in {directory} ({error.strerror}); set LM_LAB_CACHE to "
            "a folder that is writable and has room"
        ) from None


@contextlib.contextmanager
def _locked(directory: Path, key: str) -> Iterator[Path | None]:
    """An empty folder to build in, locked by this process; None if
    another process built the store.
    """
    with (directory / f"{key}.lock").open("a") as lock:
        if not durable.try_lock(lock.fileno()):
            print(
                f"Waiting for another process to build {directory / key}",
                file=sys.stderr,
                flush=True,
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (directory / key).exists():
            yield None
            return
        _sweep(directory)
        folder = directory / f"{key}.building"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _sweep(directory: Path) -> None:
    """Removes what killed builders left: the kernel has freed their locks."""
    for folder in directory.glob("*.building"):
        with folder.with_suffix(".lock").open("a") as lock:
            if durable.try_lock(lock.fileno()):
                shutil.rmtree(folder, ignore_errors=True)


def _seal(folder: Path, facts: dict[str, Any], path: Path) -> None:
    """Writes the manifest, flushes the folder to the disk, and renames it into place."""
    facts = {"sha256": _digest(facts), **facts}
    durable.replace(folder / "manifest.json", json.dumps(facts, indent=1).encode())
    folder.rename(path)
    durable.fsync(path.parent)


def _digest(facts: dict[str, Any]) -> str:
    return digest([json.dumps(facts, sort_keys=True)])


def _open(path: Path, key: str) -> Store:
    try:
        manifest = json.loads(durable.read_bytes(path / "manifest.json"))
        sealed = manifest.pop("sha256", None)  # early stores have none
        if sealed not in (None, _digest(manifest)):
            raise damaged(path, "SHA-256 of manifest.json")
        check_files(path, manifest["files"])
        bytes_of = np.fromfile(path / "bytes_of.u16", "<u2")
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise UserError(
            f"the token store {path} cannot be read ({error}); delete it and run again"
        ) from None
    train, heldout = (_map(path, manifest, name) for name in ("train", "heldout"))
    kept = (
        {name: _records(path, name) for name in manifest["splits"]}
        if "records" in manifest
        else None
    )
    return Store(path, key, manifest, bytes_of, train, heldout, kept)


def _map(path: Path, manifest: dict[str, Any], name: str) -> np.ndarray:
    part = manifest["splits"][name]
    tokens = np.memmap(path / part["file"], manifest["dtype"], "r").view(np.ndarray)
    return tokens[part["start"] : part["stop"]]


def _records(path: Path, name: str) -> Records:
    labels = path / f"{name}.labels"
    values = np.fromfile(labels, "<f4").astype(np.float32) if labels.exists() else None
    return Records(np.fromfile(path / f"{name}.index", "<i8").reshape(-1, 3), values)
