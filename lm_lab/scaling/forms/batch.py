"""The best batch by the data (Step Law, 2503.04715; Power Lines, 2505.13738).

batch*(D) = k D^c in tokens a batch. Of each (N, D) the best batch is the vertex of a parabola of
loss in log batch, each batch at its best rate where several were tried; cells whose best batch is
at the edge of its grid are left out with a caution. Published: k .58, c .571 (2503.04715); c .38
(2505.13738).
"""

from functools import partial

from lm_lab.scaling.curves import form
from lm_lab.scaling.powers import growth
from lm_lab.scaling.tuned import optima

FORM = form(
    "batch",
    "batch*(D) = k D^c",
    "arXiv:2503.04715, arXiv:2505.13738",
    "batch",
    growth(("k", "tokens"), {"tokens": "c"}),
    needs=("params", "tokens", "batch", "loss"),
    optional=("rate", "runs"),
    reduce=partial(optima, setting="batch", others=("rate",), cells=("params", "tokens")),
)
