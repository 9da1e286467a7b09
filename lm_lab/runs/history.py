"""The lines of metrics.jsonl, and the mark of them that each commit keeps: a run that goes on from
the commit notices lines that were lost or edited since.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

from lm_lab.runs.durable import explained, set_aside
from lm_lab.runs.reading import NUMBER, misfit, read_bytes

logger = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
MARK = "metrics"  # the key of a commit's `extra` that holds its mark


class Mark(NamedTuple):
    """The lines that metrics.jsonl had at a commit."""

    lines: int
    sha256: str  # of these lines, in hex

    @classmethod
    def of(cls, lines: Sequence[bytes]) -> "Mark":
        """The mark of lines, each with its newline."""
        return cls(len(lines), hashlib.sha256(b"".join(lines)).hexdigest())

    @classmethod
    def read(cls, extra: Mapping[str, Any]) -> "Mark | None":
        """The mark in a commit's `extra`; early releases kept none."""
        return cls(**extra[MARK]) if MARK in extra else None


def read_lines(directory: Path) -> list[bytes]:
    """The complete lines of metrics.jsonl, each with its newline. Raises UserError."""
    path = directory / METRICS
    with explained(path, "read"):
        content = read_bytes(path) if path.exists() else b""
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


def parse(line: bytes) -> dict[str, Any] | None:
    """The record of a line (its step, and numbers or null by name), None if it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or misfit(record, dict.fromkeys(record, (*NUMBER, NoneType))):
        return None
    step = record.get("step")
    return record if isinstance(step, int) and 0 <= step < 2**31 else None


def agree(lines: Sequence[bytes], extra: Mapping[str, Any]) -> bool:
    """Whether lines begin with those that a commit of this `extra` was made with.

    For a commit without a mark: whether all are records, and there are some if any were written.
    """
    mark = Mark.read(extra)
    if mark is None:
        return all(map(parse, lines)) and (bool(lines) or not extra.get("final"))
    return Mark.of(lines[: mark.lines]) == mark


def lines_to_keep(
    directory: Path,
    lines: Sequence[bytes],
    step: int,
    extra: Mapping[str, Any],
    newest: Mapping[str, Any],
) -> list[bytes]:
    """Those of metrics.jsonl's lines with which a run goes on from its commit of `step`, whose
    `extra` is given; none at step 0. `newest` is the `extra` of the newest commit.

    If the lines disagree with the commit, these are the records up to its step. If they disagree
    with either commit, or any line is no record, a copy of the file is set aside with a warning.
    """
    intact = not step or agree(lines, extra)
    kept = lines_until(lines, step, extra) if step else []
    if not (intact and agree(lines, newest) and all(map(parse, lines))):
        path = directory / METRICS
        aside = f"; set aside as {set_aside(path, copy=True)}" if path.exists() else ""
        fault = _fault(lines, Mark.read(newest))
        logger.warning(
            "%s %s%s; going on from step %d with %d lines", path, fault, aside, step, len(kept)
        )
    return kept


def lines_until(lines: Sequence[bytes], step: int, extra: Mapping[str, Any]) -> list[bytes]:
    """The lines that belong to a commit of `step` with this `extra`: those of its mark, or if they
    disagree with it the records up to its step.
    """
    mark = Mark.read(extra)
    if mark and agree(lines, extra):
        return list(lines[: mark.lines])
    records = [(line, parse(line)) for line in lines]
    return [line for line, record in records if record and record["step"] <= step]


def _fault(lines: Sequence[bytes], mark: Mark | None) -> str:
    broken = next((number for number, line in enumerate(lines, 1) if parse(line) is None), None)
    if broken:
        return f"has no record in line {broken}"
    if not lines:
        return f"has lost its {mark.lines} lines" if mark else "has lost its lines"
    return (
        f"is not the {mark.lines} lines that the checkpoint was made with"
        if mark
        else "is not whole"
    )
