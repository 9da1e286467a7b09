"""The contract of a file of lm_lab/scaling/forms: a law that is fitted to the columns of any table.

A law reads columns by their standard names (columns.MEANINGS), predicts one of them, and gives its
parameters with intervals. If the data cannot answer, the result is a Refusal, never an exception.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lm_lab.scaling.records import Caution, Estimate, Refusal

Array = np.ndarray
Columns = Mapping[str, Array]
"""Columns by standard name, f64[n] each, all of one length; NaN: no value."""


@dataclass(frozen=True)
class Parameter:
    """A named parameter of a law with its interval; `unit` is "" for a pure number."""

    name: str
    unit: str
    estimate: Estimate


@dataclass(frozen=True)
class FormFit:
    """A law fitted to n points, as plain values.

    law, formula, source  of the form
    parameters  with intervals at the level that was asked for
    target      the column that is predicted, in nats a token, or as columns.MEANINGS says
    inputs      the columns that the law reads, n values each; points may be fewer than rows
    observed    the target at the points
    predicted   the law there, with the interval of the law itself (without the noise of a run)
    residuals   log(observed / predicted) where `relative`, else observed - predicted
    noise       residual s.d., corrected for the parameters (None: as many parameters as points)
    condition   condition number of the column-scaled Jacobian at the fit
    theta, centre, draws  what Form.predict needs: the law's coordinates f64[P], what is taken off
                the log of each input, and theta in each resample [R P]
    """

    law: str
    formula: str
    source: str
    parameters: tuple[Parameter, ...]
    target: str
    relative: bool
    inputs: Mapping[str, tuple[float, ...]]
    observed: tuple[float, ...]
    predicted: tuple[Estimate, ...]
    residuals: tuple[float, ...]
    noise: float | None
    condition: float
    cautions: tuple[Caution, ...]
    theta: tuple[float, ...]
    centre: Mapping[str, float]
    draws: tuple[tuple[float, ...], ...]

    def __getitem__(self, name: str) -> Estimate:
        """The estimate of a parameter. Raises KeyError for a name that the law does not have."""
        estimates = {parameter.name: parameter.estimate for parameter in self.parameters}
        return estimates[name]


class Form(NamedTuple):
    """A law: a file of lm_lab/scaling/forms."""

    name: str
    formula: str
    source: str  # "arXiv:" and its id
    target: str  # the column that it predicts
    needs: tuple[str, ...]  # columns that must be there, the target too
    # (columns, level of the intervals, resamples, seed) -> the fit, or the reason for a refusal.
    # Columns that the law does not know are ignored
    fit: Callable[[Columns, float, int, int], FormFit | Refusal]
    # (fit, columns of its inputs [m], level) -> target, lower and upper end [m] each
    predict: Callable[[FormFit, Columns, float], tuple[Array, Array, Array]]
    optional: tuple[str, ...] = ("runs",)  # columns that are read if the table has them
