"""Kaplan's L(C) of the best model that each compute buys (2001.08361, equation 1.3).

L(C) = (C_c / C)^alpha_C: loss in nats a token, C in FLOPs. It is fitted to the frontier: of each
budget (budgets.py: those that agree but for rounding are one) the run of the lowest loss. Published
for C_min: C_c 3.1e8 PF-days = 2.7e28 FLOPs, alpha_C .050.
"""

import numpy as np

from lm_lab.scaling.budgets import joined_budgets
from lm_lab.scaling.contract import Columns
from lm_lab.scaling.curves import Reduced, form
from lm_lab.scaling.powers import decay


def _frontier(columns: Columns) -> Reduced:
    """The row of the lowest loss of each budget."""
    flops = np.asarray(columns["flops"], np.float64)
    loss = np.nan_to_num(np.asarray(columns["loss"], np.float64), nan=np.inf)
    budget, cautions = joined_budgets(flops)
    best = [np.flatnonzero(budget == of)[np.argmin(loss[budget == of])] for of in np.unique(budget)]
    return Reduced({name: np.asarray(column)[best] for name, column in columns.items()}, cautions)


FORM = form(
    "kaplan_compute",
    "L(C) = (C_c / C)^alpha_C",
    "arXiv:2001.08361",
    "loss",
    decay("flops", ("C_c", "FLOPs"), "alpha_C"),
    reduce=_frontier,
)
