"""How should a small byte-level decoder spend its compute: on parameters or on data?

An isoFLOP study (2203.15556, approaches 2 and 3) of two-layer decoders of context 64 on the source
of the Python standard library. Three budgets are fitted; the fourth is predicted from them before
its runs start.

Warm-up is a share of the run, and the batch grows with the budget, so that neither leans against
the large models, which take the fewest steps. Every size is tried at three peak rates, and at the
middle one with a second seed. The rate is chosen by one part of the held-out text, and the loss is
that of another part. The held-out budget has the middle rate and one seed alone.

Command:  lm-lab sweep experiments/isoflop_demo --workdir=runs/isoflop_demo
Quick:    lm-lab sweep experiments/isoflop_demo:quick --workdir=runs/isoflop_quick
          nine runs, 2 CPU-minutes, to see what a study gives; too small for an answer
Grown:    lm-lab sweep experiments/isoflop_demo:grown --workdir=runs/isoflop_grown
          17 runs of 1e14 to 3e16 FLOPs, 8.3e16 in all, for one GPU; not yet run
Answer:   isoflop_demo.md, beside this file
"""

from collections.abc import Callable, Sequence

from ml_collections import ConfigDict

from lm_lab.compute.conventions import transformer_body
from lm_lab.compute.ladder import centre, widths_near
from lm_lab.schema import suggest
from lm_lab.sweeps.algebra import Sweep, chain, param, product
from lm_lab.sweeps.study import Study
from lm_lab.types import UserError

DEPTH, HEADS, VOCAB = 2, 2, 257
BATCHES = {2.5e10: 8, 7e10: 10, 2e11: 12, 6e11: 16}  # windows a step, by budget in FLOPs
HELD_OUT = max(BATCHES)
SIZES = (0.35, 0.6, 1.0, 1.7, 2.8)  # times the centre of a budget
HELD_OUT_SIZES = (0.5, 0.8, 1.25, 2.0)
RATE = 0.4  # times 1 / width: the middle one
STEP = 2.75  # between rates
JUDGED, CHOSEN_BY = 1920, 960  # held-out windows: of the loss, of the choice of the rate


QUESTION = "How should a small byte-level decoder split its compute between parameters and data?"
QUICK_SIZES = (0.5, 1.0, 2.0)
QUICK_SHARE = 0.125  # of the budgets, and of the held-out text
GROWN_BATCHES = {1e14: 64, 6e14: 128, 4e15: 256, 3e16: 512}
GROWN_HELD_OUT_SIZES = (0.7, 1.4)


def study(extent: str = "full") -> Study:
    if extent == "quick":
        return quick()
    if extent == "grown":
        return grown()
    if extent != "full":
        extents = ["full", "quick", "grown"]
        raise UserError(f"the study has no extent {extent!r}; {suggest(extent, extents)}")
    fitted = [budget(flops, SIZES, tuned) for flops in BATCHES if flops < HELD_OUT]
    return Study(
        name="isoflop_demo",
        question=QUESTION,
        base=base(),
        sweep=chain(*fitted, budget(HELD_OUT, HELD_OUT_SIZES, untuned)),
        analysis={"kind": "isoflop", "held_out_budget": HELD_OUT, "predictor": "surface"},
    )


def quick() -> Study:
    """Three sizes at each of three budgets, one rate, one seed, and no held-out budget."""
    fitted = [flops for flops in BATCHES if flops < HELD_OUT]
    return Study(
        name="isoflop_quick",
        question=QUESTION,
        base=base(),
        sweep=chain(*(budget(flops, QUICK_SIZES, untuned, QUICK_SHARE) for flops in fitted)),
        analysis={"kind": "isoflop"},
    )


def grown() -> Study:
    """The same sizes around the expected optimum at a GPU's budgets, in bfloat16, with one rate and
    one seed; the largest budget is held out. It reads the text many times.
    """
    config = base()
    config.precision = ConfigDict({"compute": "bfloat16"})
    held_out = max(GROWN_BATCHES)
    budgets = [
        budget(flops, GROWN_HELD_OUT_SIZES if flops == held_out else SIZES, untuned, batch=batch)
        for flops, batch in GROWN_BATCHES.items()
    ]
    return Study(
        name="isoflop_grown",
        question=QUESTION,
        base=config,
        sweep=chain(*budgets),
        analysis={"kind": "isoflop", "held_out_budget": held_out, "predictor": "surface"},
    )


def base() -> ConfigDict:
    config = ConfigDict()
    config.model = ConfigDict({"family": "decoder", "depth": DEPTH, "heads": HEADS})
    config.objective = ConfigDict({"name": "causal"})
    config.data = ConfigDict({"source": "stdlib", "tokenizer": "byte", "length": 64})
    config.optimizer = ConfigDict({"weight_decay": 0.0})
    config.schedule = ConfigDict({"warmup_fraction": 0.05})
    config.train = ConfigDict({"steps_per_call": 20, "log_every_steps": 20})
    return config


def budget(
    flops: float,
    ratios: Sequence[float],
    runs: Callable[[int], Sweep],
    share: float = 1.0,
    batch: int | None = None,
) -> Sweep:
    """The runs of one budget, or of a share of it and of its held-out text: sizes around where
    the optimum is expected. `batch` is in windows; None: that of BATCHES.
    """
    target = centre(flops * share, at=min(BATCHES), size=9e3, exponent=0.5)
    widths = widths_near(target, ratios, matmul_parameters, multiple=2 * HEADS)
    batch = BATCHES[flops] if batch is None else batch
    shared = {
        "train.budget_flops": flops * share,
        "train.batch_size": batch,
        "train.eval_batches": int(JUDGED * share) // batch,
        "train.selection_batches": int(CHOSEN_BY * share) // batch,
    }
    sizes = [product(param("model.width", [width]), runs(width)) for width in widths]
    return product([shared], chain(*sizes))


def tuned(width: int) -> Sweep:
    """Three rates, and a second seed of the middle one."""
    rates = [RATE / width / STEP, RATE / width, RATE / width * STEP]
    return chain(_runs(rates, [0]), _runs(rates[1:2], [1]))


def untuned(width: int) -> Sweep:
    """The middle rate alone."""
    return _runs([RATE / width], [0])


def _runs(rates: Sequence[float], seeds: Sequence[int]) -> Sweep:
    return product(param("optimizer.peak_rate", rates), param("seed", seeds))


def matmul_parameters(width: int) -> int:
    return transformer_body(width, DEPTH) + VOCAB * width
