"""Kaplan's L(N) of models trained to convergence on ample data (2001.08361, equation 1.1).

L(N) = (N_c / N)^alpha_N: loss in nats a token, N without embeddings. Published: N_c 8.8e13,
alpha_N .076. There is no irreducible loss: it holds where the loss is far above one.
"""

from lm_lab.scaling.curves import form
from lm_lab.scaling.powers import decay

FORM = form(
    "kaplan_params",
    "L(N) = (N_c / N)^alpha_N",
    "arXiv:2001.08361",
    "loss",
    decay("params", ("N_c", "parameters"), "alpha_N"),
)
