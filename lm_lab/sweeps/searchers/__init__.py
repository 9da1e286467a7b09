"""Ways to choose the points of a search, one searcher per file."""

from collections.abc import Callable, Sequence

from lm_lab import registry
from lm_lab.schema import build
from lm_lab.sweeps.algebra import Point
from lm_lab.sweeps.search import Asked, Search, Searcher, Trial


class Chosen:
    """The searcher of a search, with its settings. Raises UserError for one that does not exist, or
    a wrong setting.
    """

    def __init__(self, search: Search) -> None:
        name = search.searcher
        kind = "sweeps.searchers"
        self._searcher = registry.load_value(kind, "SEARCHER", Searcher, name, "Search.searcher")
        self._settings = build(self._searcher.Config, search.settings, "Search.settings")
        self._search = search

    def propose(self, trials: Sequence[Trial], count: int) -> list[Point]:
        """The points of the round after those of the trials."""
        return list(self._searcher.propose(self._settings, self._asked(trials), count))

    def judge(self, trials: Sequence[Trial]) -> Callable[[Sequence[tuple[int, float]]], int | None]:
        """A function from the values of a run, which comes after the trials, to the first step at
        which it is given up.
        """
        asked = self._asked(trials)
        return lambda values: self._searcher.gives_up(self._settings, asked, values)

    def _asked(self, trials: Sequence[Trial]) -> Asked:
        search = self._search
        return Asked(search.space, search.better == "lower", search.seed, trials)
