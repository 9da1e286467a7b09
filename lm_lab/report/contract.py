"""The contract of a kind of analysis: a file, or package, of lm_lab/report/analyses."""

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


class Assumptions(NamedTuple):
    """Assumptions on runs that have not begun, for judging their design."""

    law: tuple[float, float, float, float, float] | None = None  # E, A, alpha, B, beta
    noise: float = 0.01  # s.d. of a run's log loss: the share of its loss
    added_flops: float | None = None  # for further runs to propose; None: propose none


class Designer(NamedTuple, Generic[ConfigT]):
    """How an analysis judges the design of a study before any run of it begins."""

    # (rows of the planned runs with their counted sizes, settings) -> the weaknesses of the design,
    # one per line
    cautions: Callable[[Sequence[Row], ConfigT], list[str]]
    # (the same rows, settings, assumptions) -> lines of text, for lm-lab plan
    describe: Callable[[Sequence[Row], ConfigT, Assumptions], list[str]]


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
    # None: it holds nothing out, or predicts nothing
    forecaster: Forecaster[ConfigT] | None = None
    # None: it cannot judge a design
    designer: Designer[ConfigT] | None = None
