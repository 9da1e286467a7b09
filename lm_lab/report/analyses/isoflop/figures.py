"""The figures of an isoFLOP report: each is a file of this package, and None where data lack."""

from collections.abc import Callable
from dataclasses import replace

from lm_lab.report.analyses.isoflop import (
    allocation,
    bootstrap_pairs,
    contour,
    frontier,
    one_at_a_time,
    predicted_observed,
    rate_optimum,
    rates,
    reducible,
    residuals,
    sensitivity,
    task_metrics,
    tokens_per_param,
    valleys,
)
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.scaling.records import IsoflopAnalysis

FIGURES: tuple[Callable[[IsoflopAnalysis, Source], Figure | None], ...] = (
    valleys.figure,
    allocation.figure,
    tokens_per_param.figure,
    frontier.figure,
    reducible.figure,
    contour.figure,
    one_at_a_time.figure,
    predicted_observed.figure,
    residuals.figure,
    sensitivity.figure,
    bootstrap_pairs.figure,
    rates.figure,
    rate_optimum.figure,
    task_metrics.figure,
)


def of(analysis: IsoflopAnalysis, source: Source) -> list[Figure]:
    """The figures that the analysis has the data for, in the order of a report; each caption ends
    with the number of points, what is left out, and how things are counted.
    """
    if not analysis.points:
        return []
    basis = source.basis(analysis)
    all_figures = [figure(analysis, source) for figure in FIGURES]
    drawable = [figure for figure in all_figures if figure is not None]
    return [replace(figure, caption=f"{figure.caption} {basis}") for figure in drawable]
