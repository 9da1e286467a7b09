"""What a kind of analysis exports: a file, or package, of lm_lab/report/analyses."""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from lm_lab.contracts import ConfigT
from lm_lab.report.page import Report
from lm_lab.report.stored import Row, Sweep
from lm_lab.runs.forecasts import Forecast

ResultsT = TypeVar("ResultsT")


class Forecaster(NamedTuple, Generic[ConfigT]):
    """How an analysis predicts held-out runs; sweeps register the prediction before these begin."""

    # (settings, row of a planned run); a row has its budget and overrides before it has results
    held_out: Callable[[ConfigT, Row], bool]
    # (rows of the runs that have ended, rows of the held-out ones, settings); the latter have
    # their counted sizes (params, tokens, flops) and no results
    forecast: Callable[[Sequence[Row], Sequence[Row], ConfigT], Forecast]
    # (rows of held-out runs, settings) -> the number that was predicted; None: not known
    observe: Callable[[Sequence[Row], ConfigT], float | None]


class Analysis(NamedTuple, Generic[ConfigT, ResultsT]):
    """How the runs of a study become its answer.

    A study says analysis={"kind": "isoflop", ...}, the other keys being the fields of Config.
    """

    Config: type[ConfigT]
    # (rows of results.csv, settings) -> a frozen dataclass of results, kept as analysis.json
    analyse: Callable[[Sequence[Row], ConfigT], ResultsT]
    # (results, the stored sweep) -> the page
    report: Callable[[ResultsT, Sweep], Report]
    # (settings, rows of planned runs); raises UserError where they could not be analysed even if
    # all were complete. The launch asks before any begins
    check: Callable[[ConfigT, Sequence[Row]], None] = lambda config, rows: None
    # None: nothing is held out, or nothing predicted of it
    forecaster: Forecaster[ConfigT] | None = None
