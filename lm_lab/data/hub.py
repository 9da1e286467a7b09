"""Data sets of Hugging Face's hub as Arrow files on this disk; the package `datasets` is imported
where it is used.

<cache>/hub/<key>.json     the Arrow files of a split of a revision, and <cache>/hub/<key>.arrow its
                           rows where they were streamed
<cache>/hub/<key>.revision the commit that a branch or tag was at last
"""

import functools
import importlib
import json
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lm_lab.data.documents import digest
from lm_lab.data.faults import fault
from lm_lab.data.store import cache_directory
from lm_lab.runs import durable, reading
from lm_lab.types import UserError

COMMIT = re.compile(r"[0-9a-f]{40}")
SECONDS = 10.0  # to wait for an answer of the hub
AT_ONCE = 1000  # rows of a streamed batch
CLIENT = "huggingface_hub"  # the package whose errors say most
LOG_IN = "log in by `hf auth login` or HF_TOKEN"
REMEDIES = {  # by the name of the client's error
    "GatedRepoError": f"ask for access on its page, and {LOG_IN}",
    "RepositoryNotFoundError": f"there is none of this name, or it is private: {LOG_IN}",
}


class Split(NamedTuple):
    """A split of a data set of the hub."""

    name: str  # of the data set
    subset: str | None
    split: str
    limit: int | None  # rows that are streamed; None: the whole split is downloaded


@functools.cache
def commit(name: str, revision: str) -> str:
    """The commit of a revision: from the hub, once a process; if the hub cannot be reached the last
    known one, or that which its own library last downloaded. Raises UserError where none is known.
    """
    if COMMIT.fullmatch(revision):
        return revision
    note = _place(name, revision).with_suffix(".revision")
    answer, reason = _ask(name, revision)
    if answer is not None:
        durable.make_folder(note.parent)
        durable.replace(note, answer.encode())
        return answer
    try:
        return reading.read_bytes(note).decode()
    except OSError:
        if downloaded := _downloaded(name, revision):
            return downloaded
        raise fault(
            "dataset",
            f"{name!r} is no file or folder here, and the hub does not give it ({reason}); check "
            "the name and the network, or name a folder that save_to_disk wrote",
        ) from None


def _ask(name: str, revision: str) -> tuple[str | None, str]:
    """(commit, "") of a revision, or (None, the reason), without retries."""
    library = imported("huggingface_hub")
    try:
        commit_hash = library.HfApi().dataset_info(name, revision=revision, timeout=SECONDS).sha
    except Exception as error:  # noqa: BLE001 - the client's errors have no base; it says why
        return None, why(error)
    return commit_hash, ""


def _downloaded(name: str, revision: str) -> str | None:
    """The commit of a revision in the cache of the hub's library."""
    library = imported("huggingface_hub")
    try:
        folder = library.snapshot_download(
            name, repo_type="dataset", revision=revision, local_files_only=True
        )
    except Exception:  # noqa: BLE001 - the client's errors have no base; it is not there
        return None
    return Path(folder).name


def files(wanted: Split, revision: str, key: str) -> list[Path]:
    """The Arrow files of a split at a commit, downloaded at the first call. Raises UserError."""
    place = _place(*wanted, revision)
    note = place.with_suffix(".json")
    try:
        paths = [Path(name) for name in json.loads(reading.read_bytes(note))]
    except (OSError, ValueError):
        paths = []
    if paths and all(path.is_file() for path in paths):
        return paths
    durable.make_folder(note.parent)
    paths = _load(wanted, revision, key, place.with_suffix(".arrow"))
    durable.replace(note, json.dumps([str(path) for path in paths]).encode())
    return paths


def _load(split: Split, revision: str, key: str, place: Path) -> list[Path]:
    library = imported("datasets")
    try:
        data = library.load_dataset(
            split.name,
            split.subset,
            split=split.split,
            revision=revision,
            streaming=split.limit is not None,
        )
        is_complete = split.limit is None and "[" not in split.split
        if is_complete and data.cache_files:
            return [Path(file["filename"]) for file in data.cache_files]
        rows = data if split.limit is None else data.take(split.limit)
        schema = data.features.arrow_schema if data.features else None
        _write(place, rows.iter(batch_size=AT_ONCE), schema)
    except Exception as error:  # noqa: BLE001 - the library's errors have no base; it says why
        raise fault(key, f"cannot read {split.split!r} of {split.name} ({why(error)})") from None
    return [place]


def _write(place: Path, batches: Iterator[dict[str, list[Any]]], schema: Any) -> None:
    """Writes rows as an Arrow stream, whole or not at all; without a schema, with that of the first
    batch.
    """
    import pyarrow as pa  # slow to import

    draft = place.with_suffix(f".{os.getpid()}.building")
    first = pa.RecordBatch.from_pydict(next(batches), schema=schema)
    with pa.OSFile(str(draft), "wb") as file, pa.ipc.new_stream(file, first.schema) as writer:
        writer.write_batch(first)
        for columns in batches:
            writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=first.schema))
    draft.replace(place)


def imported(package: str) -> Any:
    """A package of the extra `data`. Raises UserError where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise UserError(
            f"config.data.source: hugging_face needs the package {package}, which is not here; "
            'pip install "lm_lab[data]"'
        ) from None


def _place(*facts: object) -> Path:
    return cache_directory().with_name("hub") / digest([repr(facts)])[:32]


def why(error: BaseException) -> str:
    """What went wrong with the hub, and the remedy where there is one: a line of the error of its
    client that lies deepest, else of the error.
    """
    causes, inner = [error], error.__cause__
    while inner is not None:
        if type(inner).__module__.startswith(CLIENT):
            causes.append(inner)
        inner = inner.__cause__
    cause = causes[-1]
    line = textwrap.shorten(f"{type(cause).__name__}: {cause}", 200, placeholder=" ...")
    names = [cls.__name__ for cls in type(cause).__mro__]
    remedy = next((REMEDIES[name] for name in names if name in REMEDIES), None)
    return line if remedy is None else f"{line}; {remedy}"
