"""
A first run
===========

A small decoder learns text, letter by letter: from a config to a curve, a likelihood and a sample.
"""

# %%
# A config is a dict of sections. What it leaves out has a default; :doc:`/docs/reference/keys` has
# all of them. The text is the source code of Python's standard library, which every machine has.

import lm_lab

STEPS = 200  # in the tests: 4
WIDTH = 64  # in the tests: 16
SOURCE = "stdlib"  # in the tests: {"name": "synthetic", "documents": 64, "document_bytes": 256}

config = {
    "model": {"family": "decoder", "width": WIDTH, "depth": 2, "heads": 2},
    "objective": {"name": "causal"},
    "data": {"source": SOURCE, "tokenizer": "byte", "length": 64},
    "optimizer": {"name": "adamw", "peak_rate": 0.01},
    "schedule": {"name": "cosine", "warmup_fraction": 0.1},
    "train": {"steps": STEPS, "batch_size": 8, "eval_every_steps": STEPS // 4, "eval_batches": 8},
}
run = lm_lab.train_run(config, "runs/first")

# %%
# The same call again opens the run, which has ended; one that was interrupted would go on. Its
# records are plain dicts:

print(run.result["status"], run.result["params"]["total"], "parameters")
print(f"{run.result['final']['eval/heldout/bits_per_byte']:.3f} bits per byte of held-out text")

# %%
# The losses, as a matplotlib figure. Held-out text was judged four times:

run.figure()

# %%
# Bits per byte do not depend on the tokenizer, so they compare models that cut text unlike. Code is
# likelier to this model than letters at random:

print(f"{run.bits_per_byte('def main(arguments):' * 3):.2f}")
print(f"{run.bits_per_byte('xqzvkwjpf gbyh utmc.' * 3):.2f}")

# %%
# And a sample. Two layers and some seconds of training give letters that look like code at best:

print(run.generate("def ", new_tokens=60, temperature=0.7, seed=1))
