"""A search: points that a searcher proposes, round by round, from the results of the rounds before.

The points of a round are proposed together and run side by side, so that what is proposed depends
on recorded results alone, not on which run ended first. They are recorded in sweep.json, and are
ordinary runs of the sweep.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple

from lm_lab.contracts import ConfigT
from lm_lab.sweeps.algebra import Point, Spread
from lm_lab.types import UserError

Space = Mapping[str, Spread]


class Trial(NamedTuple):
    """A point that was run: its value at the end, None if it has none (it diverged or failed), and
    the values (step, value) of its evaluations. One that `is_pruned` has those until its end.
    """

    point: Point
    value: float | None
    values: Sequence[tuple[int, float]] = ()
    is_pruned: bool = False


@dataclass(frozen=True)
class Asked:
    """What a searcher is asked about: the space, whether lower values are better, a seed, and the
    trials of all rounds so far.
    """

    space: Space
    is_lower_better: bool
    seed: int
    trials: Sequence[Trial]


class Searcher(NamedTuple, Generic[ConfigT]):
    """A way to choose points: a file of lm_lab/sweeps/searchers. Both functions are pure."""

    Config: type[ConfigT]
    # (settings, what is asked about, how many) -> the points of the next round
    propose: Callable[[ConfigT, Asked, int], Sequence[Point]]
    # (settings, what is asked about, values of a run) -> the first step at which it is given up
    gives_up: Callable[[ConfigT, Asked, Sequence[tuple[int, float]]], int | None]


@dataclass(frozen=True)
class Search:
    """What a study searches.

    space      a spread for each key, as `sample` takes them
    count      points in all; a larger count goes on from what is there
    at_once    points of a round
    seed       of the searcher
    metric     a column of results.csv
    better     "lower" or "higher" values of it
    searcher   a name in lm_lab/sweeps/searchers, or a dotted path; with its own settings

    >>> from lm_lab.sweeps.algebra import log_uniform
    >>> Search({"optimizer.peak_rate": log_uniform(1e-4, 1e-1)}, count=24, at_once=4).searcher
    'optuna'
    """

    space: Space
    count: int
    at_once: int = 4
    seed: int = 0
    metric: str = "loss"
    better: Literal["lower", "higher"] = "lower"
    searcher: str = "optuna"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.space or self.count < 1 or self.at_once < 1:
            raise UserError("Search: give a space of one key or more, and counts of 1 or more")
        if self.better not in ("lower", "higher"):
            raise UserError(f"Search: better must be 'lower' or 'higher', not {self.better!r}")
