"""How should a small byte-level decoder spend its compute: on parameters or on data?

An isoFLOP study (2203.15556, approaches 2 and 3) of two-layer decoders of context 64 on the source
of the Python standard library. Three budgets are fitted; the fourth is predicted from them and then
looked at.

Command:  lm-lab sweep experiments/isoflop_demo --workdir=runs/isoflop_demo
Answer:   isoflop_demo.md, beside this file
"""

from collections.abc import Sequence

from ml_collections import ConfigDict

from lm_lab.compute.conventions import transformer_body
from lm_lab.compute.ladder import centre, widths_near
from lm_lab.sweeps.algebra import Sweep, chain, param, product
from lm_lab.sweeps.study import Study

DEPTH, HEADS, VOCAB = 2, 2, 257
BUDGETS = (1e11, 3e11, 1e12)
HELD_OUT = 3e12
SMALLEST_CENTRE = 1.5e4  # parameters at 1e11 FLOPs, where earlier sweeps found the valley
SIZES = (0.35, 0.6, 1.0, 1.7, 2.9)  # times the centre of a budget
HELD_OUT_SIZES = (0.6, 1.0, 1.7)
RATES = (0.16, 0.4, 1.0)  # times 1 / width


def study() -> Study:
    return Study(
        name="isoflop_demo",
        question=(
            "How should a small byte-level decoder split its compute between parameters and data?"
        ),
        base=base(),
        sweep=chain(*(budget(flops, SIZES) for flops in BUDGETS), budget(HELD_OUT, HELD_OUT_SIZES)),
        analysis={"kind": "isoflop", "held_out_budget": HELD_OUT, "predictor": "surface"},
    )


def base() -> ConfigDict:
    config = ConfigDict()
    config.model = ConfigDict({"family": "decoder", "depth": DEPTH, "heads": HEADS})
    config.objective = ConfigDict({"name": "causal"})
    config.data = ConfigDict({"source": "stdlib", "tokenizer": "byte", "length": 64})
    config.optimizer = ConfigDict({"weight_decay": 0.0})
    config.schedule = ConfigDict({"warmup_steps": 50})
    config.train = ConfigDict(
        {"batch_size": 16, "steps_per_call": 20, "log_every_steps": 100, "eval_batches": 256}
    )
    return config


def budget(flops: float, ratios: Sequence[float]) -> Sweep:
    """The runs of one budget: sizes around where the optimum is expected, each at every rate."""
    widths = widths_near(
        centre(flops, size=SMALLEST_CENTRE), ratios, matmul_parameters, multiple=2 * HEADS
    )
    sizes = [
        product(
            param("model.width", [width]),
            param("optimizer.peak_rate", [rate / width for rate in RATES]),
        )
        for width in widths
    ]
    return product(param("train.budget_flops", [flops]), chain(*sizes))


def matmul_parameters(width: int) -> int:
    return transformer_body(width, DEPTH) + VOCAB * width
