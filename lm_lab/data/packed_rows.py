"""Rows packed by best fit, kept in their order, so that a batch is read in whole rows rather than
put together of parts that lie anywhere in the text. They are a sealed folder (runs/sealed.py)
beside the token store:

<cache>/<key>.rows-<window>-<stride>/    complete rows
    manifest.json                        the facts that they follow from; size and SHA-256 of files
    tokens                               u8, u16 or u32 [rows, window], as in the store
    segments                             u8 (u16 or u32 where a row has more parts) [rows, window]
<cache>/<key>.rows-<window>-<stride>.building/, .lock, .checked    as those of a store

They take one and a half times the disk of the text's tokens. A process that is killed while it
writes them leaves a draft, which the next one removes; the plan, which takes longer, it has kept.
"""

import contextlib
import errno
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lm_lab.data.best_fit import Plan, kept_plan
from lm_lab.data.building import build_once
from lm_lab.data.checking import verify_once
from lm_lab.data.gathering import table_rows
from lm_lab.data.hashing_file import HashingFile
from lm_lab.data.progress import Progress
from lm_lab.runs import sealed

FORMAT = 1
AT_ONCE = 2**21  # tokens that are put together in one go


class PackedRows(NamedTuple):
    """Rows of a window's tokens, by number."""

    # numbers [n] -> (tokens, segments) i32[n window]; segments of a row are 1, 2, ..., padding is 0
    gather: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    rows: int
    filled: int  # tokens that are not padding


def packed_rows(
    tokens: np.ndarray, end_of_document: int, store: Path, window: int, stride: int
) -> PackedRows:
    """The rows of a stream, from their folder, which is made first if it is missing or damaged.

    Where it cannot be written, which a line on stderr says, rows are put together when they are
    read: the same ones, more slowly.
    """
    path = store.with_name(f"{store.name}.rows-{window}-{stride}")
    facts = {
        "format": FORMAT,
        "store": store.name,
        "window": window,
        "stride": stride,
        "tokens": len(tokens),
        "dtype": tokens.dtype.str,
    }
    try:
        return _open(path, facts)
    except FileNotFoundError:
        pass
    except (OSError, sealed.Damaged) as fault:
        _say(f"The packed rows {path} are damaged ({fault}), and made again")
    plan = kept_plan(tokens, end_of_document, store, window, stride)
    try:
        _build(path, facts, plan, tokens)
        return _open(path, facts)
    except (OSError, sealed.Damaged) as error:
        why = error.strerror if isinstance(error, OSError) else error
        _say(
            f"Packed rows cannot be kept in {path} ({why}), and are put together for every batch, "
            "which is slower; set LM_LAB_CACHE to a folder that is writable and has room"
        )
    gather = partial(plan.gather, tokens, window)
    return PackedRows(gather, plan.size, int(plan.sizes.sum()))


def _open(path: Path, facts: Mapping[str, Any]) -> PackedRows:
    """The rows of a complete folder. Raises FileNotFoundError where there is none, Damaged."""
    path.stat()
    manifest, files = sealed.read_manifest(path)
    for name, value in facts.items():
        if manifest.get(name) != value:
            raise sealed.Damaged(f"they are of another {name}")
    try:
        verify_once(path, files)
        window = manifest["window"]
        tokens = _mapped(path / "tokens", manifest["dtype"], window)
        segments = _mapped(path / "segments", manifest["segments_dtype"], window)
    except (OSError, ValueError, KeyError) as error:
        raise sealed.Damaged(str(error)) from None
    gather = partial(_gather, tokens, segments)
    return PackedRows(gather, manifest["rows"], manifest["filled"])


def _is_whole(path: Path, facts: Mapping[str, Any]) -> bool:
    """Whether the folder is there and whole; a damaged one is removed."""
    try:
        _open(path, facts)
    except FileNotFoundError:
        return False
    except (OSError, sealed.Damaged):
        shutil.rmtree(path)
        return False
    return True


def _mapped(file: Path, dtype: str, window: int) -> np.ndarray:
    """The rows of a file [rows window]; an empty one cannot be mapped."""
    mapped = np.memmap(file, dtype, "r") if file.stat().st_size else np.empty(0, dtype)
    return mapped.view(np.ndarray).reshape(-1, window)


def _gather(
    tokens: np.ndarray, segments: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return table_rows(tokens, numbers), table_rows(segments, numbers)


def _build(path: Path, facts: Mapping[str, Any], plan: Plan, tokens: np.ndarray) -> None:
    """Writes the folder, unless another process has meanwhile. Raises OSError."""
    window, most = facts["window"], int(np.diff(plan.rows).max(initial=1))
    kinds = {"tokens": tokens.dtype, "segments": np.min_scalar_type(most).newbyteorder("<")}
    size = plan.size * window * sum(kind.itemsize for kind in kinds.values())
    with build_once(path, partial(_is_whole, path, facts)) as draft:
        if draft is None:
            return
        draft.mkdir()
        if shutil.disk_usage(draft).free < size:
            raise OSError(errno.ENOSPC, f"they take {size / 1e6:,.0f} MB, and the disk has less")
        with contextlib.ExitStack() as stack:
            files = {name: stack.enter_context(HashingFile(draft / name)) for name in kinds}
            progress = stack.enter_context(Progress("Packing rows", size))
            count = max(1, AT_ONCE // window)
            for first in range(0, plan.size, count):
                numbers = np.arange(first, min(first + count, plan.size))
                for (name, kind), part in zip(kinds.items(), plan.gather(tokens, window, numbers)):
                    data = part.astype(kind).tobytes()
                    files[name].write(data)
                    progress.add(len(data))
        content = {
            **facts,
            "segments_dtype": kinds["segments"].str,
            "rows": plan.size,
            "filled": int(plan.sizes.sum()),
            "files": {name: file.entry() for name, file in files.items()},
        }
        sealed.write_manifest(draft, content)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
