"""A process of tools/benchmarks/population.py: trains its members, a turn for each line on stdin.

python -m tools.benchmarks.population_child JSON    # how, width, seeds, seconds and kept
"""

import json
import sys
import time
from typing import Any

import jax
import numpy as np

from lm_lab import config as configs
from lm_lab.data.text import Texts
from lm_lab.train.compiled import compile_program
from lm_lab.train.task import bind

DEPTH, LENGTH, ROWS, STEPS_PER_CALL = 2, 64, 16, 8


def main() -> None:
    """Builds the program, trains a few steps, says what it is, and answers each line on stdin with
    the seconds of a step of all of its members, by the wall and by the CPU.
    """
    wanted = json.loads(sys.argv[1])
    config = configs.override(configs.ConfigDict(), settings(wanted["width"]))
    texts = Texts()
    tasks = [
        bind(*configs.resolve(configs.override(config, {"seed": seed})), texts)
        for seed in wanted["seeds"]
    ]
    compiled = compile_program(tasks, how=wanted["how"])
    state, step = compiled.start(), compiled.engine.step
    state, _ = step(state, compiled.engine.batch(0, STEPS_PER_CALL, state))
    leaves = [np.asarray(leaf)[0] for leaf in jax.device_get(jax.tree.leaves(state.params))]
    if wanted["kept"]:
        np.savez(wanted["kept"], **{str(index): leaf for index, leaf in enumerate(leaves)})
    said = {"platform": jax.devices()[0].platform, "params": sum(leaf.size for leaf in leaves)}
    print(json.dumps(said | {"start_cpu": time.process_time()}), flush=True)
    calls = 1
    for _ in sys.stdin:
        begin, worked, first = time.monotonic(), time.process_time(), calls
        while time.monotonic() - begin < wanted["seconds"]:
            examples = compiled.engine.batch(calls * STEPS_PER_CALL, STEPS_PER_CALL, state)
            state, metrics = step(state, examples)
            jax.block_until_ready(metrics)
            calls += 1
        steps = (calls - first) * STEPS_PER_CALL
        spent = time.monotonic() - begin, time.process_time() - worked
        print(json.dumps([seconds / steps for seconds in spent]), flush=True)


def settings(width: int) -> dict[str, Any]:
    return {
        "model": {"family": "decoder", "width": width, "depth": DEPTH, "heads": 2},
        "objective.name": "causal",
        "data.length": LENGTH,
        "train.steps": 10**6,
        "train.batch_size": ROWS,
    }


if __name__ == "__main__":
    main()
