"""Which architecture makes the best use of a small training budget?

Six contenders at matched training FLOPs (counted from each one's own program), on the source of the
Python standard library in bytes. Each has a small isoFLOP of its own: at every budget three sizes,
at three peak rates and two seeds each, and is judged at the vertex of its own valley. All take one
evaluation: bits per byte of the second half of a window of 128 bytes, given the first
(objectives/continuation.py). Rates and sizes are chosen on other text than is reported.

Command:  lm-lab sweep experiments/architectures --workdir=runs/architectures
Cost:     324 runs, 5.6e13 FLOPs, 68 CPU-minutes on two cores that other work shared
Answer:   architectures.md, beside this file
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from ml_collections import ConfigDict

from lm_lab import registry
from lm_lab.compute.ladder import centre, widths_near
from lm_lab.compute.parameters import by_group
from lm_lab.interop.fields import config_of
from lm_lab.sweeps.algebra import Sweep, chain, param, product
from lm_lab.sweeps.study import Study
from lm_lab.train.restore import boxed_params

VOCAB, LENGTH, HEADS = 257, 128, 2
BUDGETS = (5e10, 1.3e11, 3.4e11)
SIZES = (0.5, 1.0, 2.0)  # times the centre of a contender at a budget

# What makes a contender, beside its width; the peak rates it is tried at, times 1 / width; and the
# parameters of matrix products about which its sizes lie at 1e11 FLOPs (from one run a size, four
# sizes, at 5e10 FLOPs).
CONTENDERS: dict[str, tuple[dict[str, Any], tuple[float, ...], float]] = {
    "decoder": (
        {"family": "decoder", "depth": 2, "heads": HEADS, "feed_forward.name": "dense"},
        (0.16, 0.4, 1.0),
        1.3e4,
    ),
    "mixture of experts": (
        {
            "family": "decoder",
            "depth": 2,
            "heads": HEADS,
            "feed_forward.name": "experts",
            "feed_forward.count": 4,
        },
        (0.16, 0.4, 1.0),
        1.7e4,
    ),
    "encoder-decoder": (
        {"family": "encoder_decoder", "depth": 2, "encoder_depth": 2, "heads": HEADS},
        (0.1, 0.25, 0.6),
        1.2e4,
    ),
    "LSTM": ({"family": "rnn", "cell": "lstm", "depth": 2}, (0.25, 0.6, 1.5), 2.0e4),
    "Mamba": ({"family": "state_space", "block.name": "mamba", "depth": 2}, (0.4, 1.0, 2.5), 2.5e4),
    "Griffin": (
        {
            "family": "state_space",
            "block.name": "rg_lru",
            "depth": 3,
            "attention_every": 3,
            "heads": HEADS,
            "window": 64,
            "positions.share": 1.0,
        },
        (0.2, 0.6, 1.8),
        2.2e4,
    ),
}


def study() -> Study:
    return Study(
        name="architectures",
        question=(
            "Which architecture makes the best use of a small training budget on bytes of source "
            "code?"
        ),
        base=base(),
        sweep=chain(*(contender(name, budget) for budget in BUDGETS for name in CONTENDERS)),
        analysis={
            "kind": "comparison",
            "arms": {name: told_apart(name) for name in CONTENDERS},
            "reference": "decoder",
            "metric": "continuation_bits_per_byte",
        },
    )


def base() -> ConfigDict:
    config = ConfigDict()
    config.objective = ConfigDict({"name": "causal"})
    config.data = ConfigDict({"source": "stdlib", "tokenizer": "byte", "length": LENGTH})
    config.optimizer = ConfigDict({"weight_decay": 0.0})
    config.schedule = ConfigDict({"warmup_fraction": 0.05})
    config.train = ConfigDict(
        {
            "batch_size": 8,
            "steps_per_call": 20,
            "log_every_steps": 20,
            "eval_batches": 64,
            "selection_batches": 32,
            "also_evaluate": ["continuation"],
        }
    )
    return config


def contender(name: str, budget: float, sizes: Sequence[float] = SIZES) -> Sweep:
    """The runs of a contender at a budget: sizes about its centre, at every rate and seed."""
    fields, rates, centre_size = CONTENDERS[name]
    widths = widths_near(
        centre(budget, size=centre_size),
        sizes,
        lambda width: matmul_parameters(name, width),
        multiple=2 * HEADS,
    )
    objective = "continuation" if fields["family"] == "encoder_decoder" else "causal"
    same = {"train.budget_flops": budget, "objective.name": objective}
    same |= {f"model.{key}": value for key, value in fields.items()}
    of_sizes = [
        product(
            param("model.width", [width]),
            param("optimizer.peak_rate", [rate / width for rate in rates]),
        )
        for width in widths
    ]
    return product([same], chain(*of_sizes), param("seed", [0, 1]))


def told_apart(name: str) -> dict[str, Any]:
    """The overrides that its runs share and no other contender's have."""
    fields = CONTENDERS[name][0]
    names = ("family", "feed_forward.name", "block.name")
    return {f"model.{key}": fields[key] for key in names if key in fields}


@cache
def matmul_parameters(name: str, width: int) -> int:
    """What a token is multiplied with, the head included."""
    fields = dict(CONTENDERS[name][0])
    family = fields.pop("family")
    contract = registry.load("models", family, "family")
    made = config_of(contract.Config, {"width": width, "vocab": VOCAB, **fields}, "config.model")
    return by_group(boxed_params(family, made), contract.experts_per_token(made))["matmul"]
