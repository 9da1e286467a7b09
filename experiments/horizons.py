"""Do four horizons need four runs? One trunk with a branch for each, against runs of their own.

A trunk at a stable rate is trained once; each shorter horizon leaves it for its last tenth, in
which the rate falls (warm-up, stable, decay: 2404.06395). Horizons of 1, 2, 3 and 4 then cost 4.6
in the place of 10. Beside each stand the run of its own with the same schedule, and one with a
cosine, as most runs have it; three seeds.

Command:  lm-lab sweep experiments/horizons --workdir=runs/horizons
Cost:     2.2e12 FLOPs, 36 runs; 8 minutes on two busy cores
Result:   each horizon ends in the bits of its own run, at 46 % of the compute (horizons.md)
"""

import lm_lab
from lm_lab.sweeps.algebra import Point, Sweep, chain, param, product, together

HORIZONS = (100, 200, 300, 400)
BASE = {"model.width": 32, "train.keep_steps": ()}
DECAY = 0.1  # of a horizon
WARMUP = 20  # steps
SEEDS = (0, 1, 2)
TRUNK = max(HORIZONS)
LEFT = [round(steps * (1 - DECAY)) for steps in HORIZONS if steps < TRUNK]

STABLE: Point = {"schedule": {"name": "wsd", "warmup_steps": WARMUP, "decay_fraction": DECAY}}
ARMS: dict[str, Point] = {
    "one trunk": {**STABLE, "train.keep_steps": LEFT},
    "runs of their own": {**STABLE, "train.keep_steps": []},
    "cosine": {"schedule": {"name": "cosine", "warmup_steps": WARMUP}},
}


def sweep() -> Sweep:
    """The trunk and its branches, then the runs of their own."""
    branches = together(param("train.steps", HORIZONS[:-1]), param("train.branch_step", LEFT))
    trunk = chain(param("train.steps", [TRUNK]), branches)
    alone = param("train.steps", HORIZONS)
    arms = chain(
        product([ARMS["one trunk"]], trunk),
        product([ARMS["runs of their own"]], alone),
        product([ARMS["cosine"]], alone),
    )
    return product(arms, param("seed", SEEDS))


def study() -> lm_lab.Study:
    return lm_lab.Study(
        name="horizons",
        question="Do four horizons need four runs, or one trunk with a branch for each?",
        base=lm_lab.load_config("configs/trunk_tiny.py", BASE),
        sweep=sweep(),
        analysis={
            "kind": "curves",
            "metric": "bits_per_byte",
            "better": "lower",
            "against": "train.steps",
            "arms": ARMS,
        },
    )
