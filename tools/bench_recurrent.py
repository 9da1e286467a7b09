"""Training tokens a second of an LSTM and a GRU: lm_lab's step against torch's and flax's layers, in turns.

    python tools/bench_recurrent.py                             # every size and cell: about 10 minutes
    taskset -c 0 python tools/bench_recurrent.py --size=256x2   # on one core
    python tools/bench_recurrent.py --torch-python=other_env/bin/python

The same model (tools/bench_peers/shape.py), batch and optimizer; turns as in tools/bench_training.py, whose
word on shared machines holds here too: believe the ratios.
"""

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import jax
from bench_peers import flax_rnn
from bench_peers import shape as settings
from bench_peers.shape import GATES, RECURRENT_SHAPES, VOCAB, Shape
from bench_training import Turn, compare, timed, torch_contender
from ml_collections import ConfigDict

from lm_lab.config import resolve
from lm_lab.train import loop, sharding
from lm_lab.train.member import Run


def lm_lab_config(shape: Shape, cell: str, steps_per_call: int) -> ConfigDict:
    model = {"family": "rnn", "cell": cell, "width": shape.width, "depth": shape.depth, "vocab": VOCAB}
    names = ("peak_rate", "warmup_steps", "final_fraction", "beta1", "beta2", "epsilon", "weight_decay", "clip_norm")
    return ConfigDict(
        {
            "model": {**model, "residual": False, "norm": None},
            "objective": {"name": "causal"},
            "data": {"source": "synthetic", "tokenizer": "byte", "length": shape.length},
            "optimizer": {name: getattr(settings, name.upper()) for name in names},
            "train": {
                "steps": settings.STEPS,
                "batch_size": shape.batch_size,
                "steps_per_call": steps_per_call,
                "eval_batches": 1,
            },
        }
    )


def lm_lab_contender(shape: Shape, cell: str, steps_per_call: int = 10) -> Callable[[], None]:
    """The program of `lm-lab train`, as lm_lab/train/loop.py builds and calls it."""
    experiment, resolved = resolve(lm_lab_config(shape, cell, steps_per_call))
    machine = loop.build([Run(experiment, resolved, Path())])
    with sharding.use(machine.mesh):
        state = machine.start()
    examples = machine.examples(0, steps_per_call)

    def take_turn() -> None:
        nonlocal state
        with sharding.use(machine.mesh):
            for _ in range(shape.steps // steps_per_call):
                state, metrics = machine.step(state, examples)
        jax.block_until_ready(metrics)

    return take_turn


def contenders(size: str, cell: str, torch_python: str | None, stack: ExitStack) -> dict[str, Turn]:
    shape = RECURRENT_SHAPES[size]
    turns = {"lm_lab": timed(lm_lab_contender(shape, cell)), "flax nn.RNN": timed(flax_rnn.contender(shape, cell))}
    if torch_python:
        command = [torch_python, "-m", "bench_peers.torch_rnn", size, cell]
        turns[f"torch nn.{cell.upper()}"] = torch_contender(command, stack)
    return turns


def show(size: str, cell: str, seconds: dict[str, list[float]]) -> None:
    def span(values: list[float], form: str) -> str:
        return f"{statistics.median(values):{form}}  [{min(values):{form}}, {max(values):{form}}]"

    shape, cores = RECURRENT_SHAPES[size], len(os.sched_getaffinity(0))
    print(f"\n{cell} {size}  length {shape.length}  batch {shape.batch_size}  vocabulary {VOCAB}  {cores} cores")
    print(f"{'':20}{'tokens/s, median [range]':36}lm_lab is so many times as fast, median [range]")
    for name, own in seconds.items():
        speed = span([shape.tokens / value for value in own], ",.0f")
        ratio = span([theirs / ours for theirs, ours in zip(own, seconds["lm_lab"])], ".2f")
        print(f"{name:20}{speed:36}{ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[*RECURRENT_SHAPES, "all"], default="all")
    parser.add_argument("--cell", choices=[*GATES, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch-python", help="an interpreter with torch; default: this one, where it has torch")
    flags = parser.parse_args()
    torch_python = flags.torch_python or (sys.executable if importlib.util.find_spec("torch") else None)
    if not torch_python:
        print("no torch here: pip install -e .[interop], or give --torch-python; going on without", file=sys.stderr)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LM_LAB_CACHE"] = cache
        for size in RECURRENT_SHAPES if flags.size == "all" else [flags.size]:
            for cell in GATES if flags.cell == "all" else [flags.cell]:
                with ExitStack() as stack:
                    show(size, cell, compare(contenders(size, cell, torch_python, stack), flags.rounds))


if __name__ == "__main__":
    main()
