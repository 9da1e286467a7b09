"""Training tokens a second: lm_lab's compiled step against a plain Flax step and a GPT-2 in PyTorch, in turns.

    python tools/bench_training.py                                  # both sizes, 5 rounds: about 10 minutes on 4 cores
    python tools/bench_training.py --size=128x4 --rounds=9
    python tools/bench_training.py --torch-python=other_env/bin/python

All train the same shape of model by the same rule (tools/bench_peers/shape.py) and take a turn each in every round,
in an order that reverses from round to round; while one works, the others sleep. A machine that is shared makes
tokens a second wander, so believe the ratios: each is of two turns of one round. docs/speed.md keeps the figures.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import jax
from bench_peers import plain_flax
from bench_peers import shape as settings
from bench_peers.shape import SHAPES, Shape, gpt_params
from ml_collections import ConfigDict

from lm_lab.config import resolve
from lm_lab.train import loop, sharding
from lm_lab.train.member import Run

Turn = Callable[[], float]  # takes the steps of a turn; the seconds


def lm_lab_config(shape: Shape, steps_per_call: int, scan: bool) -> ConfigDict:
    model = {"width": shape.width, "depth": shape.depth, "heads": shape.heads, "vocab": settings.VOCAB, "scan": scan}
    return ConfigDict(
        {
            "model": {"family": "decoder", "norm": "layer", "positions": "learned", "tied": True, **model},
            "objective": {"name": "causal"},
            "data": {"source": "synthetic", "tokenizer": "byte", "length": shape.length},
            "optimizer": {
                "peak_rate": settings.PEAK_RATE,
                "warmup_steps": settings.WARMUP_STEPS,
                "final_fraction": settings.FINAL_FRACTION,
                "beta1": settings.BETA1,
                "beta2": settings.BETA2,
                "epsilon": settings.EPSILON,
                "weight_decay": settings.WEIGHT_DECAY,
                "clip_norm": settings.CLIP_NORM,
            },
            "train": {
                "steps": settings.STEPS,
                "batch_size": shape.batch_size,
                "steps_per_call": steps_per_call,
                "eval_batches": 1,
            },
        }
    )


def lm_lab_contender(shape: Shape, steps_per_call: int = 10, scan: bool = False) -> Callable[[], None]:
    return contender(shape, lm_lab_config(shape, steps_per_call, scan), gpt_params(shape))


def contender(shape: Shape, config: ConfigDict, params: int) -> Callable[[], None]:
    """The program of `lm-lab train`, as lm_lab/train/loop.py builds and calls it, of a model of so many parameters."""
    experiment, resolved = resolve(config)
    steps_per_call = experiment.train.steps_per_call
    machine = loop.build([Run(experiment, resolved, Path())])
    assert machine.program.params["total"] == params
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


def timed(take_turn: Callable[[], None]) -> Turn:
    def turn() -> float:
        start = time.perf_counter()
        take_turn()
        return time.perf_counter() - start

    return turn


def torch_contender(command: list[str], stack: ExitStack) -> Turn:
    """A PyTorch trainer in a process of its own, which lives as long as the stack."""
    worker = subprocess.Popen(
        command, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    stack.callback(worker.wait)
    stack.callback(worker.kill)
    assert worker.stdin is not None
    assert worker.stdout is not None
    requests, answers = worker.stdin, worker.stdout

    def answer() -> str:
        line = answers.readline().strip()
        if not line:
            raise SystemExit(f"{' '.join(command)} ended; its message stands above")
        return line

    def turn() -> float:
        requests.write("\n")
        requests.flush()
        return float(answer())

    answer()
    return turn


def contenders(size: str, torch_python: str | None, stack: ExitStack) -> dict[str, Turn]:
    shape = SHAPES[size]
    turns = {"lm_lab": timed(lm_lab_contender(shape)), "plain Flax": timed(plain_flax.contender(shape))}
    for mode in ("eager", "compiled") if torch_python else ():
        command = [torch_python or "", "-m", "bench_peers.torch_gpt", size, mode]
        turns[f"PyTorch {mode}"] = torch_contender(command, stack)
    return turns


def internal(shape: Shape) -> dict[str, Turn]:
    """lm_lab against itself: steps a call, and scanned instead of unrolled layers."""
    turns = {"lm_lab": timed(lm_lab_contender(shape)), "layers scanned": timed(lm_lab_contender(shape, scan=True))}
    return turns | {f"{k} steps a call": timed(lm_lab_contender(shape, k)) for k in (1, 5) if k < shape.steps}


def compare(turns: dict[str, Turn], rounds: int) -> dict[str, list[float]]:
    """Seconds of every turn, after one uncounted that compiles."""
    for name, turn in turns.items():
        print(f"  {name}: first turn, with what it compiles, {turn():.1f} s", file=sys.stderr)
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for round_ in range(rounds):
        for name in list(turns)[:: 1 if round_ % 2 == 0 else -1]:
            seconds[name].append(turns[name]())
    return seconds


def show(size: str, seconds: dict[str, list[float]]) -> None:
    def span(values: list[float], form: str) -> str:
        return f"{statistics.median(values):{form}}  [{min(values):{form}}, {max(values):{form}}]"

    shape = SHAPES[size]
    print(f"\n{size}  length {shape.length}  batch {shape.batch_size}  vocabulary {settings.VOCAB}  float32")
    print(f"{'':20}{'tokens/s, median [range]':36}lm_lab is so many times as fast, median [range]")
    for name, own in seconds.items():
        speed = span([shape.tokens / value for value in own], ",.0f")
        ratio = span([theirs / ours for theirs, ours in zip(own, seconds["lm_lab"])], ".2f")
        print(f"{name:20}{speed:36}{ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[*SHAPES, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch-python", help="an interpreter with torch; default: this one, where it has torch")
    parser.add_argument("--internal", action="store_true", help="compare lm_lab's own settings instead of its peers")
    flags = parser.parse_args()
    own = sys.executable if importlib.util.find_spec("torch") else None
    torch_python = flags.torch_python or own
    if not torch_python and not flags.internal:
        print("no torch here: pip install -e .[interop], or give --torch-python; going on without", file=sys.stderr)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LM_LAB_CACHE"] = cache
        for size in SHAPES if flags.size == "all" else [flags.size]:
            with ExitStack() as stack:
                turns = internal(SHAPES[size]) if flags.internal else contenders(size, torch_python, stack)
                show(size, compare(turns, flags.rounds))


if __name__ == "__main__":
    main()
