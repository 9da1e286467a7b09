"""
A population on one device
==========================

Runs that differ in seeds or rates alone train as one compiled program, side by side. So the noise
of seeds, without which no difference means anything, costs little.
"""

# %%
# ``make_program`` gives the program of ``train_run`` without a directory. Members have one seed
# each; the learning rate is an array of the state, so that rates may differ as well.

import matplotlib.pyplot as plt
import numpy as np

import lm_lab

STEPS = 100  # in the tests: 4
SEEDS = list(range(8))  # in the tests: [0, 1]

tiny = {
    "model": {"family": "decoder", "width": 16, "depth": 1, "heads": 2},
    "objective": {"name": "causal"},
    "data": {"source": {"name": "synthetic", "documents": 64}, "length": 16},
    "optimizer": {"peak_rate": 0.02},
    "schedule": {"name": "cosine", "warmup_steps": 2},
    "train": {"steps": STEPS, "batch_size": 8, "eval_batches": 4},
}
task = lm_lab.bind(tiny)
program = lm_lab.make_program(task, seeds=SEEDS)

# %%
# ``step`` takes as many steps as its examples have; metrics are sums over targets, [members steps].

state = program.start()
examples = program.engine.batch(0, STEPS, state)
state, metrics = program.engine.step(state, examples)
losses = np.asarray(metrics["nll"] / metrics["weight"])
print(losses.shape)

# %%
# Every member, and their spread:

figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
axes.plot(losses.T, color="tab:blue", alpha=0.35, linewidth=1)
axes.plot(losses.mean(0), color="tab:blue", label=f"mean of {len(SEEDS)} seeds")
axes.set(xlabel="step", ylabel="nats a token")
axes.legend()
figure  # noqa: B018 - shown, as the value of its cell

# %%
# The noise of a seed, in held-out loss: a difference between two settings that is smaller than
# about twice this, over the root of the number of seeds, is none.

scores = [task.evaluate(program.merged_params(state, member)) for member in range(len(SEEDS))]
bits = np.array([score["bits_per_byte"] for score in scores])
print(f"{bits.mean():.4f} bits per byte, standard deviation {bits.std(ddof=1):.4f}")

# %%
# Each member is in every bit what it would be alone, so a population is a way to compute and
# changes no result. Sweeps use it by themselves: ``lm-lab sweep`` trains points that share a
# program together.
