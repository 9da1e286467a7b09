#!/usr/bin/env python3
"""How much sooner a population of small runs ends than the same runs one after another, start-up
and compilation included, against model size and members.

    python tools/bench_population.py --widths=16,32,64,128 --members=2,4,8 --out=build/population

one          one run after another, a process on all cores each, as a loop over `lm-lab train`
vmap, map    one program of all members on all cores, or on the accelerator
processes    a process a core, each with its share of the members as `map` (on a CPU alone)

Every way runs in processes of its own. Their start, from the launch of Python to the end of the
first steps, is timed, then their steps in rounds that alternate between the ways; so the curve
follows for runs of any length. The way that `lm-lab sweep` takes by itself here is named, and each
way's parameters of the first member are compared with those of its run alone. On a CPU that others
use, the scheduler decides what wall time shows; "by work" is the speed-up that CPU time promises
where runs one after another would use all cores without loss, so a lower bound.

Needs no hand: writes OUT.json (everything), OUT.md (the table) and OUT.png after each size, and
ends with 1 if the way that is taken is slower than one run after another anywhere.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from absl import app, flags

WIDTHS = flags.DEFINE_list("widths", ["16", "32", "64", "128"], "of the decoders")
DEPTH = flags.DEFINE_integer("depth", 2, "of the decoders")
LENGTH = flags.DEFINE_integer("length", 64, "of a window")
BATCH = flags.DEFINE_integer("batch_size", 16, "windows a step")
MEMBERS = flags.DEFINE_list("members", ["2", "4", "8"], "runs in the population")
STEPS = flags.DEFINE_integer("steps", 500, "of a run, for the table")
SECONDS = flags.DEFINE_float("seconds", 1.5, "measured in a round, at least")
ROUNDS = flags.DEFINE_integer("rounds", 3, "rounds of all ways")
WAYS = flags.DEFINE_list("ways", ["one", "vmap", "map", "processes"], "to measure; one always")
OUT = flags.DEFINE_string("out", "build/population", "the files, without their endings")
FLAGS = flags.FLAGS
CHILD = flags.DEFINE_string("child", None, "internal: the way that this process runs")
SEEDS = flags.DEFINE_list("seeds", [], "internal: of its members")
KEPT = flags.DEFINE_string("kept", None, "internal: for the parameters of the first member")

STEPS_PER_CALL = 8
HOW: dict[str, Literal["vmap", "map"] | None] = {
    "one": None,
    "vmap": "vmap",
    "map": "map",
    "processes": "map",
}
Process = subprocess.Popen


def main(argv: list[str]) -> None:
    del argv
    if CHILD.value:
        child(HOW[CHILD.value])
        return
    record: dict[str, Any] = {"command": " ".join(sys.argv), "steps": STEPS.value, "cells": []}
    out = Path(OUT.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    for members, width in itertools.product(map(int, MEMBERS.value), map(int, WIDTHS.value)):
        record["cells"].append(measure(width, members, record))
        print(line(record["cells"][-1]), flush=True)
        out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        out.with_suffix(".md").write_text(table(record))
        draw(record, out.with_suffix(".png"))
    worst = min(cell["speed_up"][cell["chosen"]] for cell in record["cells"])
    print(f"least speed-up of the way that is taken: {worst:.2f}")
    sys.exit(worst < 1)


def measure(width: int, members: int, record: dict[str, Any]) -> dict[str, Any]:
    """Start-up and step times of all ways for a size and a number of members."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        ways, begun, said = {}, {}, {}
        for way in ("one", "vmap", "map", "processes"):
            if way not in WAYS.value or (way == "processes" and said["one"]["platform"] != "cpu"):
                continue
            begin = time.monotonic()
            ways[way] = start(way, width, members, cores, Path(folder, f"{way}.npz"))
            said[way], *_ = [json.loads(answer(process)) for process in ways[way]]
            begun[way] = time.monotonic() - begin
        times: dict[str, list[float]] = {way: [] for way in ways}
        worked: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS.value):
            for way, processes in ways.items():
                wall, cpu = step_time(processes)
                times[way].append(wall)
                worked[way].append(cpu)
        for process in itertools.chain(*ways.values()):
            process.kill()
            process.wait()
        apart = {way: difference(Path(folder), way) for way in ways if way != "one"}
    record |= {key: said["one"][key] for key in ("platform", "device", "jax")}
    record["cores"] = len(cores)
    step = {way: statistics.median(found) for way, found in times.items()}
    work = {way: statistics.median(found) for way, found in worked.items()}
    works = {way: said[way]["start_cpu"] for way in ways}
    shared = {way: 1 if way == "processes" else len(cores) for way in ways}
    return {
        "width": width,
        "params": said["one"]["params"],
        "flops_per_step": said["one"]["flops_per_step"],
        "members": members,
        "chosen": chosen(said["one"]["platform"], len(cores)),
        "start_seconds": begun,
        "step_seconds": times,
        "trained": speed_ups(step, dict.fromkeys(step, 0.0), members),
        "speed_up": speed_ups(step, begun, members),
        "cpu_seconds": {"start": works, "step": worked},
        "work": speed_ups(
            {way: work[way] / shared[way] for way in ways},
            {way: works[way] / shared[way] for way in ways},
            members,
        ),
        "difference": apart,
    }


def chosen(platform: str, cores: int) -> str:
    """What `lm-lab sweep` does by itself: sweeps/executors/local.py, train/compiled.py."""
    if platform != "cpu":
        return "vmap"
    return "processes" if cores > 1 else "map"


def speed_ups(step: dict[str, float], start: dict[str, float], members: int) -> dict[str, float]:
    """The time of runs one after another over the time of each way, for runs of --steps steps."""
    steps = STEPS.value
    alone = members * (start["one"] + steps * step["one"])
    return {way: alone / (start[way] + steps * step[way]) for way in step if way != "one"}


def start(way: str, width: int, members: int, cores: list[int], kept: Path) -> list[Process]:
    """Starts the processes of a way: (seeds, cores) of each."""
    seeds = list(range(members))
    shares = [(seeds, cores)]
    if way == "one":
        shares = [([0], cores)]
    elif way == "processes":
        shares = [(seeds[i :: len(cores)], [core]) for i, core in enumerate(cores)]
    return [
        spawn(way, width, own, pinned, kept if own[0] == 0 else None)
        for own, pinned in shares
        if own
    ]


def spawn(way: str, width: int, seeds: list[int], cores: list[int], kept: Path | None) -> Process:
    command = [sys.executable, __file__, f"--child={way}", f"--widths={width}"]
    command += [f"--seeds={','.join(map(str, seeds))}"]
    command += [f"--kept={kept}"] if kept else []
    command += [
        f"--{name}={FLAGS[name].value}" for name in ("depth", "length", "batch_size", "seconds")
    ]
    pin = ["taskset", "-c", ",".join(map(str, cores))]
    # all ways wait on one accelerator: each takes what it needs
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return Process(
        [*pin, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def answer(process: Process) -> str:
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said:
        raise SystemExit("a process of the measurement has ended: its words are above")
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


def child(how: Literal["vmap", "map"] | None) -> None:
    """Builds the program, trains a few steps, says what it is, and answers each line on stdin with
    the seconds of a step of all of its members.
    """
    import jax

    from lm_lab import config as configs
    from lm_lab.data.text import Texts
    from lm_lab.train.compiled import compile_program
    from lm_lab.train.task import bind

    config = configs.override(configs.ConfigDict(), settings(int(WIDTHS.value[0])))
    texts, seeds = Texts(), [int(seed) for seed in SEEDS.value]
    tasks = [
        bind(*configs.resolve(configs.override(config, {"seed": seed})), texts) for seed in seeds
    ]
    compiled = compile_program(tasks, how=how)
    state = compiled.start()
    step = compiled.engine.step
    state, metrics = step(state, compiled.engine.batch(0, STEPS_PER_CALL, state))
    leaves = [np.asarray(leaf)[0] for leaf in jax.device_get(jax.tree.leaves(state.params))]
    if KEPT.value:
        np.savez(KEPT.value, **{str(index): leaf for index, leaf in enumerate(leaves)})
    device = jax.devices()[0]
    said = {"platform": device.platform, "device": device.device_kind, "jax": jax.__version__}
    said |= {
        "params": sum(leaf.size for leaf in leaves),
        "flops_per_step": compiled.program.flops_per_step,
    }
    said["start_cpu"] = time.process_time()
    print(json.dumps(said), flush=True)
    calls = 1
    for _ in sys.stdin:
        begin, worked, first = time.monotonic(), time.process_time(), calls
        while time.monotonic() - begin < SECONDS.value:
            examples = compiled.engine.batch(calls * STEPS_PER_CALL, STEPS_PER_CALL, state)
            state, metrics = step(state, examples)
            jax.block_until_ready(metrics)
            calls += 1
        steps = (calls - first) * STEPS_PER_CALL
        spent = time.monotonic() - begin, time.process_time() - worked
        print(json.dumps([seconds / steps for seconds in spent]), flush=True)


def settings(width: int) -> dict[str, Any]:
    return {
        "model": {"family": "decoder", "width": width, "depth": DEPTH.value, "heads": 2},
        "objective.name": "causal",
        "data.length": LENGTH.value,
        "train.steps": 10**6,
        "train.batch_size": BATCH.value,
    }


def line(cell: dict[str, Any]) -> str:
    """A row of the table."""
    took = cell["chosen"]
    ways = [
        f"{cell['speed_up'][way]:.2f} ({cell['trained'][way]:.2f})"
        if way in cell["speed_up"]
        else ""
        for way in ("vmap", "map", "processes")
    ]
    apart = ["bits" if value == 0 else f"{value:.0e}" for value in cell["difference"].values()]
    first = [f"{cell['params']:,} ({cell['width']})", str(cell["members"])]
    work = f"{cell['work'][took]:.2f}" if took in cell["work"] else ""
    return f"| {' | '.join([*first, *ways, took, work, ', '.join(apart)])} |"


def table(record: dict[str, Any]) -> str:
    """The cells in Markdown."""
    where = f"{record['device']}, {record['cores']} cores, jax {record['jax']}"
    columns = ["parameters (width)", "members", "vmap", "map", "processes", "taken", "by work"]
    head = [
        f"{where}: speed-up of a population over the same runs one after another, for runs of "
        f"{record['steps']} steps with start-up and compilation (in brackets: of training alone)",
        "",
        f"| {' | '.join([*columns, 'first member against its run alone'])} |",
        f"| {' | '.join(['---'] * 8)} |",
    ]
    return "\n".join([*head, *map(line, record["cells"])]) + "\n"


def draw(record: dict[str, Any], path: Path) -> None:
    """Speed-ups against size: of the way that is taken by members, and of all ways."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    cells, most = record["cells"], max(cell["members"] for cell in record["cells"])
    for shade, members in enumerate(sorted({cell["members"] for cell in cells})):
        own = [cell for cell in cells if cell["members"] == members]
        sizes = [cell["params"] for cell in own]
        ups = [cell["speed_up"][cell["chosen"]] for cell in own]
        left.plot(sizes, ups, "o-", color=f"C{shade}", label=f"{members} members")
        ups = [cell["trained"][cell["chosen"]] for cell in own]
        left.plot(sizes, ups, "o--", color=f"C{shade}", mfc="white")
    left.plot([], [], "--", color="gray", label="training alone")
    own = [cell for cell in cells if cell["members"] == most]
    for way in own[0]["speed_up"]:
        sizes = [cell["params"] for cell in own]
        right.plot(sizes, [cell["speed_up"][way] for cell in own], "o-", label=way)
    left.set_title(f"the way that is taken: {cells[0]['chosen']}")
    right.set_title(f"all ways, {most} members")
    left.set_ylabel(f"speed-up, runs of {record['steps']} steps")
    every = sorted({cell["params"] for cell in cells})
    for axes in (left, right):
        axes.set(xscale="log", xlabel="parameters", ylim=(0, None))
        axes.set_xticks(every, [f"{size:,}" for size in every], rotation=30, ha="right")
        axes.minorticks_off()
        axes.axhline(1, color="gray", lw=0.8)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    app.run(main)
