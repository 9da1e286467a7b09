"""Contenders in turns: each takes a turn in every round, in an order that reverses from round to
round.

While one works, the others sleep. On a shared machine tokens a second drift, so trust the ratios:
each is of two turns of one round.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from bench_peers.shape import VOCAB, Shape

Turn = Callable[[], float]  # takes the steps of a turn; returns the seconds
MODES = ("eager", "compiled")  # of PyTorch


def timed(take_turn: Callable[[], None]) -> Turn:
    def turn() -> float:
        start = time.perf_counter()
        take_turn()
        return time.perf_counter() - start

    return turn


def torch_turns(
    python: str | None, module: str, size: str, modes: dict[str, str], stack: ExitStack
) -> dict[str, Turn]:
    """The turns of a module of bench_peers in every mode, by label; {} without an interpreter that
    has torch.
    """
    if python is None:
        print(
            "no torch here: pip install -e .[interop], or give --torch-python; going on without",
            file=sys.stderr,
        )
        return {}
    command = [python, "-m", f"bench_peers.{module}", size]
    return {label: torch_turn([*command, mode], stack) for label, mode in modes.items()}


def torch_turn(command: list[str], stack: ExitStack) -> Turn:
    """A PyTorch trainer in a process of its own, which lives as long as the stack."""
    worker = subprocess.Popen(
        command,
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
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


def parser(description: str | None, sizes: Iterable[str]) -> ArgumentParser:
    """The flags of all benchmarks."""
    flags = ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--size", choices=[*sizes, "all"], default="all")
    flags.add_argument("--rounds", type=int, default=5)
    own = sys.executable if importlib.util.find_spec("torch") else None
    words = (
        "an interpreter with torch and what else it takes; default: this one, where it has torch"
    )
    flags.add_argument("--torch-python", default=own, help=words)
    return flags


def run(
    kind: str,
    shapes: dict[str, Shape],
    contenders: Callable[[str, Namespace, ExitStack], dict[str, Turn]],
    flags: Namespace,
) -> None:
    """Compares the contenders of a kind of model at every size that is
    asked for, and prints a table of each.
    """
    for size in shapes if flags.size == "all" else [flags.size]:
        with tempfile.TemporaryDirectory() as cache, ExitStack() as stack:
            os.environ["LM_LAB_CACHE"] = cache
            show(
                f"{kind} {size}",
                shapes[size],
                compare(contenders(size, flags, stack), flags.rounds),
            )


def compare(turns: dict[str, Turn], rounds: int) -> dict[str, list[float]]:
    """The seconds of every turn, after an uncounted one that compiles."""
    for name, turn in turns.items():
        print(f"  {name}: first turn, with what it compiles, {turn():.1f} s", file=sys.stderr)
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for round_ in range(rounds):
        for name in list(turns)[:: 1 if round_ % 2 == 0 else -1]:
            seconds[name].append(turns[name]())
    return seconds


def show(title: str, shape: Shape, seconds: dict[str, list[float]]) -> None:
    def span(values: list[float], form: str) -> str:
        return f"{statistics.median(values):{form}}  [{min(values):{form}}, {max(values):{form}}]"

    cores, wide = len(os.sched_getaffinity(0)), max(map(len, seconds)) + 2
    sizes = f"length {shape.length}  batch {shape.batch_size}  vocabulary {VOCAB}"
    print(f"\n{title}  {sizes}  float32  {cores} cores")
    print(
        f"{'':{wide}}{'tokens/s, median [range]':36}lm_lab is so many times as fast, median [range]"
    )
    for name, own in seconds.items():
        speed = span([shape.tokens / value for value in own], ",.0f")
        ratio = span([theirs / ours for theirs, ours in zip(own, seconds["lm_lab"])], ".2f")
        print(f"{name:{wide}}{speed:36}{ratio}")
