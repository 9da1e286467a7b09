"""What a part is made of: jobs, each of which measures some rows."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from tools.benchmarks.results import Row

Work = Callable[[float], Iterable[Row]]  # from the seconds that are left; yields rows as they come


class Job(NamedTuple):
    """A piece of a part that is done whole or left out."""

    name: str
    work: Work


class Setting(NamedTuple):
    """How a part runs."""

    rehearse: bool  # at tiny sizes, on any device: finds errors, and measures nothing
    out: Path  # the folder of the record and of what a part leaves beside it


class Part(NamedTuple):
    """A part of the list."""

    jobs: Callable[[Setting], list[Job]]
    words: str  # what it measures
    alone: bool  # whether this process computes; otherwise others that it starts do
