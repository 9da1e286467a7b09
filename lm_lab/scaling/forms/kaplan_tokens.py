"""Kaplan's L(D) of large models, stopped early on D tokens (2001.08361, equation 1.2).

L(D) = (D_c / D)^alpha_D: loss in nats a token. Published: D_c 5.4e13 tokens, alpha_D .095. There is
no irreducible loss: it holds where the loss is far above one.
"""

from lm_lab.scaling.curves import form
from lm_lab.scaling.powers import decay

FORM = form(
    "kaplan_tokens",
    "L(D) = (D_c / D)^alpha_D",
    "arXiv:2001.08361",
    "loss",
    decay("tokens", ("D_c", "tokens"), "alpha_D"),
)
