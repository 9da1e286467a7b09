"""
Resume, extend and branch
=========================

A run that is killed ends in the same bits as one that is not, a finished one may take more steps,
and short horizons leave a long run where it passes them.
"""

# %%
# The schedule ``wsd`` holds the rate and lets it fall at the end (2404.06395): until then runs of
# all horizons are one run. ``keep_steps`` keeps the checkpoints where others will leave.

import lm_lab

LONG = 80  # in the tests: 10
SHORT = 40  # in the tests: 5
LEAVES = 32  # in the tests: 4

tiny = {
    "model": {"family": "decoder", "width": 16, "depth": 1, "heads": 2},
    "objective": {"name": "causal"},
    "data": {"source": {"name": "synthetic", "documents": 64}, "length": 16},
    "optimizer": {"peak_rate": 0.02},
    "schedule": {"name": "wsd", "warmup_steps": 2, "decay_fraction": 0.2},
    "train": {
        "steps": LONG,
        "batch_size": 8,
        "eval_batches": 4,
        "steps_per_call": 1,
        "keep_steps": [LEAVES],
    },
}
trunk = lm_lab.train_run(tiny, "runs/trunk")

# %%
# A branch takes the trunk's state at that step, and pays for its decay alone:

branch = lm_lab.train_run(
    lm_lab.load_config(
        tiny,
        {
            "train.steps": SHORT,
            "train.keep_steps": [],
            "train.branch_from": "runs/trunk",
            "train.branch_step": LEAVES,
        },
    ),
    "runs/branch",
)
print(f"{branch.result['paid_flops']:.2e} FLOPs paid, of {branch.result['flops']:.2e}")

# %%
# It is the run of that horizon in one go, to the bit:

whole = lm_lab.train_run(
    lm_lab.load_config(tiny, {"train.steps": SHORT, "train.keep_steps": []}), "runs/whole"
)
text = "abba" * 8
print(branch.bits_per_byte(text) == whole.bits_per_byte(text))

# %%
# Its records are those of the whole run, with the trunk's part:

branch.figure()

# %%
# With a constant rate a finished run may simply take more steps. The same call with a larger number
# goes on from the newest checkpoint, and ``changes.jsonl`` says so:

constant = lm_lab.load_config(
    tiny, {"schedule": {"name": "constant"}, "train.steps": LEAVES, "train.keep_steps": []}
)
first = lm_lab.train_run(constant, "runs/extended").result["steps"]
longer = lm_lab.load_config(constant, {"train.steps": SHORT})
second = lm_lab.train_run(longer, "runs/extended").result["steps"]
print(first, "steps, then", second)

# %%
# What would change what is already trained is refused, with the key:

try:
    lm_lab.train_run(lm_lab.load_config(longer, {"optimizer.peak_rate": 0.01}), "runs/extended")
except lm_lab.UserError as error:
    print(error)
