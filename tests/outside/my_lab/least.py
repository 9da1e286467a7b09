"""A kind of report: which run has the least loss."""

from dataclasses import dataclass

from lm_lab.report.contract import Analysis
from lm_lab.report.page import Report
from lm_lab.schema import setting


@dataclass(frozen=True)
class Config:
    """The settings of the analysis."""

    show: int = setting("runs in the list", 3, low=1)


@dataclass(frozen=True)
class Results:
    """The runs with the least loss, and their losses."""

    names: list[str]
    losses: list[float]


def analyse(rows, config):
    """The best of the complete runs."""
    complete = [row for row in rows if row["status"] == "complete"]
    best = sorted(complete, key=lambda row: row["loss"])[: config.show]
    return Results([row["name"] for row in best], [row["loss"] for row in best])


def report(results, sweep):
    """The answer."""
    return Report([f"Least is {results.names[0]}, with {results.losses[0]:.3f} nats."])


ANALYSIS = Analysis(Config, analyse, report)
