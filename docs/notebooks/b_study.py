"""
A study and its report
======================

A question, the runs that answer it, and the answer with its noise: is a deep or a wide decoder
better at equal compute, and would another seed say so, too?
"""

# %%
# A study is a base config, a sweep over it and an analysis. A sweep is a list of points, each a
# dict of dotted keys; ``product`` and ``param`` make such lists.

import lm_lab
from lm_lab.sweeps.algebra import chain, param, product

BUDGETS = [4e9, 1.6e10]  # in the tests: [4e8, 8e8]
SEEDS = [0, 1]  # in the tests: [0]
WIDTHS = {"deep": 24, "wide": 48}  # in the tests: {"deep": 16, "wide": 16}

base = lm_lab.load_config(
    {
        "model": {"family": "decoder", "heads": 2},
        "objective": {"name": "causal"},
        "data": {"source": {"name": "synthetic", "documents": 256}, "length": 32},
        "optimizer": {"peak_rate": 0.01},
        "schedule": {"name": "cosine", "warmup_fraction": 0.1},
        "train": {"batch_size": 8, "eval_batches": 8},
    }
)
arms = {
    "deep": {"model.depth": 3, "model.width": WIDTHS["deep"]},
    "wide": {"model.depth": 1, "model.width": WIDTHS["wide"]},
}
points = product(param("train.budget_flops", BUDGETS), param("seed", SEEDS))
study = lm_lab.Study(
    name="deep_or_wide",
    question="Is a deep or a wide decoder better at equal compute?",
    base=base,
    sweep=chain(*(product([arm], points) for arm in arms.values())),
    analysis={
        "kind": "curves",
        "metric": "bits_per_byte",
        "better": "lower",
        "against": "train.budget_flops",
        "arms": arms,
    },
)
print(len(study.sweep), "runs")

# %%
# ``executor="here"`` trains in this process; without it, workers train, one a core. The seeds of a
# point share one compiled program.

sweep = lm_lab.run_study(study, "runs/deep_or_wide", executor="here")

# %%
# The rows are those of ``results.csv``; ``pandas.DataFrame(sweep.rows)`` makes a table of them.

for row in sweep.rows:
    print(
        f"{row['model.depth']} layers, {row['budget_flops']:.0e} FLOPs: {row['bits_per_byte']:.3f}"
    )

# %%
# The analysis's figure, with intervals from the seeds. ``sweep.report()`` writes it into
# ``report.html``, with the answer in words above it.

sweep.figures()["curves"]
