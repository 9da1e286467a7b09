"""How much loss does a large model lose if it takes the best learning rate of a small one?

In the standard parametrisation and in the one by which rates carry over (lm_lab/nn/transfer.py):
muP for a model 4 times as wide (2203.03466), CompleteP for one 4 times as deep (2505.01618). Four
families learn bytes of the Python standard library's source. Each is tried at 7 peak rates and 3
seeds: at the small size, which is the same model in either parametrisation, and at the large ones
in both. The best rate of a size is the bottom of the parabola through the best of its grid and its
neighbours, by other text than is reported.

Command:  lm-lab sweep experiments/mup_transfer --workdir=runs/mup_transfer
Cost:     420 runs, 2.6e13 FLOPs, 27 minutes on two cores that other work shared
Answer:   mup_transfer.md, beside this file
"""

from typing import Any

from ml_collections import ConfigDict

from lm_lab.sweeps.algebra import Sweep, chain, param, product
from lm_lab.sweeps.study import Study

WIDTH, DEPTH = 32, 2
WIDE, DEEP = 128, 8
HEAD = 16  # features of a head, at every width
RATES = tuple(5e-4 * 2.5**step for step in range(7))  # to 0.12
SEEDS = (0, 1, 2)

MODELS: dict[str, dict[str, Any]] = {
    "decoder": {"model.family": "decoder"},
    "encoder-decoder": {"model.family": "encoder_decoder"},
    "LSTM": {"model.family": "rnn"},
    "Mamba": {"model.family": "state_space"},
}
NONE = {"model.base_width": None, "model.base_depth": None}
SMALL = {"model.width": WIDTH, "model.depth": DEPTH, **NONE}
LARGE = {
    f"{WIDE // WIDTH} times as wide": {
        "standard": {**SMALL, "model.width": WIDE},
        "muP": {**SMALL, "model.width": WIDE, "model.base_width": WIDTH},
    },
    f"{DEEP // DEPTH} times as deep": {
        "standard": {**SMALL, "model.depth": DEEP},
        "CompleteP": {**SMALL, "model.depth": DEEP, "model.base_depth": DEPTH},
    },
}


def study() -> Study:
    return Study(
        name="mup_transfer",
        question=(
            "How much loss does a large model lose if it takes the best learning rate of a small "
            "one?"
        ),
        base=base(),
        sweep=chain(
            *(runs(name, SMALL) for name in MODELS),
            *(
                runs(name, size)
                for sizes in LARGE.values()
                for name in MODELS
                for size in sizes.values()
            ),
        ),
        analysis={"kind": "transfer", "models": MODELS, "small": SMALL, "large": LARGE},
    )


def base() -> ConfigDict:
    config = ConfigDict()
    config.data = ConfigDict({"source": "stdlib", "tokenizer": "byte", "length": 64})
    config.optimizer = ConfigDict({"weight_decay": 0.0})
    config.schedule = ConfigDict({"warmup_fraction": 0.1})
    config.train = ConfigDict(
        {
            "steps": 100,
            "batch_size": 8,
            "steps_per_call": 50,
            "log_every_steps": 50,
            "eval_batches": 24,
            "selection_batches": 24,
        }
    )
    return config


def runs(name: str, size: dict[str, Any]) -> Sweep:
    """The runs of a model at a size, at every rate and seed."""
    shared = {**MODELS[name], **size, "objective.name": "causal"}
    if name in ("decoder", "encoder-decoder"):
        shared |= {"model.heads": size["model.width"] // HEAD}
    if name == "encoder-decoder":
        shared |= {"objective.name": "continuation"}
    return product([shared], param("optimizer.peak_rate", RATES), param("seed", SEEDS))
