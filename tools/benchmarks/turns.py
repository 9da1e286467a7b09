"""Contenders in turns: each takes a turn in every round, in an order that reverses from round to
round.

While one works, the others sleep. On a shared machine tokens a second drift, so trust the ratios:
each is of two turns of one round.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from tools.benchmarks.results import ROOT

Turn = Callable[[], float]  # takes the steps of a turn; returns the seconds
MODES = ("eager", "compiled")  # of PyTorch


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> Turn:
    """A turn that does the work, by a clock: time.process_time counts seconds of the CPU, of all
    threads, which a busy machine does not stretch.
    """

    def turn() -> float:
        start = clock()
        work()
        return clock() - start

    return turn


def alternate(turns: Mapping[str, Turn], rounds: int) -> dict[str, list[float]]:
    """The seconds of every turn, after an uncounted one that compiles."""
    for turn in turns.values():
        turn()
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for round_ in range(rounds):
        for name in list(turns)[:: 1 if round_ % 2 == 0 else -1]:
            seconds[name].append(turns[name]())
    return seconds


def torch_turns(
    python: str | None, module: str, size: str, modes: Mapping[str, str], stack: ExitStack
) -> dict[str, Turn]:
    """The turns of a module of tools/benchmarks/peers in every mode, by label; {} without an
    interpreter that has torch.
    """
    if python is None:
        words = "no torch here: pip install -e .[interop], or give --torch-python; going on without"
        print(words, file=sys.stderr)
        return {}
    command = [python, "-m", f"tools.benchmarks.peers.{module}", size]
    return {label: torch_turn([*command, mode], stack) for label, mode in modes.items()}


def torch_turn(command: list[str], stack: ExitStack) -> Turn:
    """A PyTorch trainer in a process of its own, which lives as long as the stack. Raises
    RuntimeError where it ends.
    """
    worker = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    stack.callback(worker.wait)
    stack.callback(worker.kill)
    assert worker.stdin is not None
    assert worker.stdout is not None
    requests, answers = worker.stdin, worker.stdout

    def answer() -> str:
        line = answers.readline().strip()
        if not line:
            raise RuntimeError(f"{' '.join(command)} ended; its message stands above")
        return line

    def turn() -> float:
        requests.write("\n")
        requests.flush()
        return float(answer())

    answer()
    return turn
