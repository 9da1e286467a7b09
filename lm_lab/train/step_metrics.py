"""What the metrics of steps say: sums and last values for the records, and steps that were not
finite, with the moment at which these make the run a divergence.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lm_lab.engine.nonfinite import LOST, Policy, RollBack, Stop
from lm_lab.engine.step import LAST
from lm_lab.train.counters import LOST_STEPS


class Lost(NamedTuple):
    """Steps that trained nothing, up to some step of a run."""

    steps: int = 0  # in all
    row: int = 0  # at the end, one after another


def sums_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The sums over the steps of a call, whose metrics are [K]."""
    names = [name for name in metrics if name not in (*LAST, LOST)]
    return {name: float(metrics[name].sum(dtype=np.float64)) for name in names}


def last_of(metrics: Mapping[str, Any], lost: Lost) -> dict[str, float]:
    """What is recorded of the last step of a call, after so many lost steps."""
    last = {name: float(metrics[name][-1]) for name in ("gradient_norm", "rate")}
    for name, norms in metrics.get("norms", {}).items():
        layers = np.atleast_1d(norms[-1])
        names = [f"{name}/{layer}" for layer in range(len(layers))] if norms.ndim > 1 else [name]
        last |= dict(zip(names, map(float, layers)))
    return last | ({LOST_STEPS: lost.steps} if LOST in metrics else {})


def count(before: Lost, metrics: Mapping[str, Any], policy: Policy) -> tuple[Lost, int | None]:
    """The lost steps with those of a call, whose metrics are [K], and the index of the step at
    which the run has diverged by its policy; None: it has not.
    """
    finite = np.isfinite(metrics["nll"]) & np.isfinite(metrics["gradient_norm"])
    lost = metrics[LOST] > 0 if LOST in metrics else ~finite
    steps, row = before
    for index in range(len(lost)) if lost.any() else ():
        steps, row = steps + int(lost[index]), (row + 1) * int(lost[index])
        if lost[index] and is_divergence(policy, Lost(steps, row)):
            return Lost(steps, row), index
    return Lost(steps, row if lost.any() else 0), None


def is_divergence(policy: Policy, lost: Lost) -> bool:
    """Whether a policy gives a run up after these steps."""
    if isinstance(policy, Stop):
        return True
    return (lost.steps if isinstance(policy, RollBack) else lost.row) >= policy.limit
