"""How much sooner a population of small runs ends than the same runs one after another, start-up
and compilation included, against model size and members.

one          one run after another, a process on all cores each, as a loop over `lm-lab train`
vmap, map    one program of all members on all cores, or on the accelerator
processes    a process a core, each with its share of the members as `map` (on a CPU alone)

Every way runs in processes of its own. Their start, from the launch of Python to the end of the
first steps, is timed, then their steps in rounds that alternate between the ways; so the time
follows of runs of --population-steps steps. The way that `lm-lab sweep` takes by itself is marked.
On a CPU that others use, the scheduler decides what wall time shows; "by CPU time" is the speed-up
that the CPU time of the way that is taken promises where runs one after another would use all cores
without loss, so a lower bound. "apart": the largest difference of a parameter of the first member
from that of its run alone after the first steps, over the largest parameter; 0: in every bit.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tools.benchmarks.results import ROOT, Row

WAYS = ("one", "vmap", "map", "processes")
Process = subprocess.Popen


class Cell(NamedTuple):
    """A point of the figure."""

    params: int
    members: int
    taken: str  # the way that `lm-lab sweep` takes
    speed_up: dict[str, float]  # by way
    trained: dict[str, float]  # the same of training alone, without the start


def add_flags(parser: ArgumentParser) -> None:
    widths, members = [16, 32, 64, 128], [2, 4, 8]
    parser.add_argument("--widths", type=int, nargs="+", default=widths, help="of the decoders")
    parser.add_argument("--members", type=int, nargs="+", default=members, help="of a population")
    parser.add_argument("--ways", nargs="+", choices=WAYS[1:], default=WAYS[1:])
    parser.add_argument("--population-steps", type=int, default=500, help="of a run")
    parser.add_argument("--population-figure", metavar="FILE", help="where to draw it, as PNG")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a turn, at least")


def run(flags: Namespace) -> Iterator[Row]:
    if flags.quick:
        flags.widths, flags.members, flags.seconds = [16], [2], 0.1
    cells: list[Cell] = []
    for members, width in itertools.product(flags.members, flags.widths):
        yield from measure(width, members, flags, cells)
        if flags.population_figure:
            draw(cells, flags.population_steps, flags.population_figure)


def measure(width: int, members: int, flags: Namespace, cells: list[Cell]) -> Iterator[Row]:
    """Rows of a size and a number of members, which is added to the cells of the figure."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ways, begun, said = {}, {}, {}
        for way in ("one", *flags.ways):
            if way == "processes" and said["one"]["platform"] != "cpu":
                continue
            begin = time.monotonic()
            kept = Path(folder, f"{way}.npz")
            ways[way] = start(way, width, members, cores, flags.seconds, kept)
            for process in ways[way]:
                stack.callback(process.wait)
                stack.callback(process.kill)
            said[way], *_ = [json.loads(answer(process)) for process in ways[way]]
            begun[way] = time.monotonic() - begin
        turns: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for round_ in range(flags.rounds):
            for way in list(ways)[:: 1 if round_ % 2 == 0 else -1]:
                turns[way].append(step_time(ways[way]))
        apart = {way: difference(Path(folder), way) for way in ways if way != "one"}
    steps, about = flags.population_steps, f"{said['one']['params']:,} (width {width})"

    def whole(way: str, wall: float) -> float:
        return (members if way == "one" else 1) * (begun[way] + steps * wall)

    taken = chosen(said["one"]["platform"], len(cores))
    cell = Cell(said["one"]["params"], members, taken, {}, {})
    alone = [whole("one", wall) for wall, _ in turns["one"]]
    for way in apart:
        name = f"{about}, {members} members, {way}{' (taken)' * (way == taken)}"
        own = [whole(way, wall) for wall, _ in turns[way]]
        row = against(name, f"s for {steps} steps each", own, alone)
        trained = [steps * wall for wall, _ in turns[way]]
        one_by_one = [members * steps * wall for wall, _ in turns["one"]]
        training = against(f"{name}, training alone", row.unit, trained, one_by_one)
        cell.speed_up[way] = statistics.median(row.ratios)
        cell.trained[way] = statistics.median(training.ratios)
        yield row
        yield training
        if way == taken:
            first, work = (said[w]["start_cpu"] + steps * middle_of(turns[w]) for w in ("one", way))
            share = work / (1 if way == "processes" else len(cores))
            unit = "s of all cores, at least"
            yield against(f"{name}, by CPU time", unit, [share], [members * first / len(cores)])
        yield Row(f"{name}, apart", "of the largest parameter", apart[way])
    cells.append(cell)


def against(name: str, unit: str, own: list[float], alone: list[float]) -> Row:
    """The row of a way that took `own` seconds where one run after another took `alone`."""
    ratios = [there / here for here, there in zip(own, alone, strict=True)]
    return Row(name, unit, statistics.median(own), "one by one", statistics.median(alone), ratios)


def middle_of(turns: list[tuple[float, float]]) -> float:
    """The median CPU-seconds of a step."""
    return statistics.median(cpu for _, cpu in turns)


def chosen(platform: str, cores: int) -> str:
    """What `lm-lab sweep` does by itself: sweeps/executors/local.py, train/compiled.py."""
    if platform != "cpu":
        return "vmap"
    return "processes" if cores > 1 else "map"


def start(
    way: str, width: int, members: int, cores: list[int], seconds: float, kept: Path
) -> list[Process]:
    """Starts the processes of a way."""
    seeds = list(range(members))
    shares = [(seeds, cores)]  # the members and cores of each
    if way == "one":
        shares = [([0], cores)]
    elif way == "processes":
        shares = [(seeds[i :: len(cores)], [core]) for i, core in enumerate(cores)]
    how = {"vmap": "vmap", "map": "map", "processes": "map"}.get(way)
    return [
        spawn(how, width, own, pinned, seconds, kept if own[0] == 0 else None)
        for own, pinned in shares
        if own
    ]


def spawn(
    how: str | None,
    width: int,
    seeds: list[int],
    cores: list[int],
    seconds: float,
    kept: Path | None,
) -> Process:
    wanted = {"how": how, "width": width, "seeds": seeds, "seconds": seconds}
    words = json.dumps(wanted | {"kept": str(kept) if kept else None})
    pin = ["taskset", "-c", ",".join(map(str, cores))]
    command = [*pin, sys.executable, "-m", "tools.benchmarks.population_child", words]
    # all ways wait on one accelerator: each takes what it needs
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return Process(command, cwd=ROOT, text=True, env=environment, **pipes)


def answer(process: Process) -> str:
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said:
        raise RuntimeError("a process of the measurement has ended: its words are above")
    return said


def step_time(processes: list[Process]) -> tuple[float, float]:
    """Seconds of a step of all members, by processes that run at the same time, and CPU-seconds of
    the one that works most.
    """
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    walls, cpus = zip(*[json.loads(answer(process)) for process in processes], strict=True)
    return max(walls), max(cpus)


def difference(folder: Path, way: str) -> float:
    """The largest difference of a parameter of the first member from that of its run alone, after
    the first steps, over the largest parameter; 0: in every bit.
    """
    with np.load(folder / "one.npz") as solo, np.load(folder / f"{way}.npz") as member:
        same = all(solo[name].tobytes() == member[name].tobytes() for name in solo)
        apart = max(float(np.abs(solo[name] - member[name]).max()) for name in solo)
        largest = max(float(np.abs(solo[name]).max()) for name in solo)
    return 0.0 if same else apart / largest


def draw(cells: list[Cell], steps: int, path: str) -> None:
    """Speed-ups against size: of the way that is taken by members, and of all ways."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    most = max(cell.members for cell in cells)
    for shade, members in enumerate(sorted({cell.members for cell in cells})):
        own = [cell for cell in cells if cell.members == members]
        sizes = [cell.params for cell in own]
        ups = [cell.speed_up.get(cell.taken, np.nan) for cell in own]
        left.plot(sizes, ups, "o-", color=f"C{shade}", label=f"{members} members")
        ups = [cell.trained.get(cell.taken, np.nan) for cell in own]
        left.plot(sizes, ups, "o--", color=f"C{shade}", mfc="white")
    left.plot([], [], "--", color="gray", label="training alone")
    own = [cell for cell in cells if cell.members == most]
    for way in own[0].speed_up:
        right.plot(
            [cell.params for cell in own], [cell.speed_up[way] for cell in own], "o-", label=way
        )
    left.set_title(f"the way that is taken: {cells[0].taken}")
    right.set_title(f"all ways, {most} members")
    left.set_ylabel(f"speed-up, runs of {steps} steps")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="parameters", ylim=(0, None))
        axes.axhline(1, color="gray", lw=0.8)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
