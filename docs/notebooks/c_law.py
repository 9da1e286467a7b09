"""
A scaling law of any table
==========================

Losses of models of some sizes after some tokens, from lm_lab or from anywhere: the law with its
intervals, what it predicts, and what it refuses to say.
"""

# %%
# Columns are known by the names that papers give them. This table follows the law of 2203.15556
# with noise of half a percent, so that the truth is known: alpha = 0.34, beta = 0.28.

import numpy as np

import lm_lab

RESAMPLES = 200  # in the tests: 20
random = np.random.default_rng(0)
table = {"N": [], "D": [], "val_loss": []}
for budget in [1e18, 4e18, 1.6e19, 6.4e19]:
    best = np.sqrt(budget / 120)
    for size in best * np.array([0.25, 0.5, 1.0, 2.0, 4.0]):
        tokens = budget / (6 * size)
        loss = 1.69 + 406 / size**0.34 + 411 / tokens**0.28
        table["N"].append(size)
        table["D"].append(tokens)
        table["val_loss"].append(loss * (1 + 0.005 * random.standard_normal()))

law = lm_lab.fit(table, resamples=RESAMPLES)

# %%
# Printed, a law says how it read the columns, each exponent with its interval, and its cautions:

print(law)

# %%
# Whether the truth lies inside can be asked here, since it is known:

alpha = law.surface.alpha
print(f"alpha {alpha.value:.3f} [{alpha.low:.3f}, {alpha.high:.3f}], the truth is 0.34")

# %%
# How often such intervals hold the truth was measured on planted tables of sixteen laws:
# :doc:`/docs/calibration`. A prediction, ten times beyond the last budget:

print(f"loss of 1e9 parameters after 1e11 tokens: {law.loss(params=1e9, tokens=1e11):.3f}")

# %%
# The valleys, and the frontier:

law.figure("valleys")

# %%

law.figure("frontier")

# %%
# What a table cannot tell is refused in one line. Here tokens are in billions by mistake:

try:
    lm_lab.fit({**table, "D": [tokens / 1e9 for tokens in table["D"]]}, resamples=RESAMPLES)
except lm_lab.UserError as error:
    print(error)
