"""The best learning rate by size and data (Step Law, 2503.04715).

rate*(N, D) = k N^a D^b: N without embeddings, D in tokens. Of each (N, D) the best rate is the
vertex of a parabola of loss in log rate (where several batches were tried, of the best batch's
loss); cells whose best rate is at the edge of its grid are left out with a caution. Published:
k 1.79, a -.713, b .307.
"""

from functools import partial

from lm_lab.scaling.curves import form
from lm_lab.scaling.powers import growth
from lm_lab.scaling.tuned import optima

FORM = form(
    "rate",
    "rate*(N, D) = k N^a D^b",
    "arXiv:2503.04715",
    "rate",
    growth(("k", "rate"), {"params": "a", "tokens": "b"}),
    needs=("params", "tokens", "rate", "loss"),
    optional=("batch", "runs"),
    reduce=partial(optima, setting="rate", others=("batch",), cells=("params", "tokens")),
)
