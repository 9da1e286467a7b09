"""Training speed of a population of small runs by its placement, in aggregate tokens a second.

    python tools/bench_population.py --width=64 --depth=2 --members=8 --rounds=3

one          one run after another, each on all cores: what a loop over `lm-lab train` does
vmap, map    one program of all members on all cores
devices      one program, members spread over one host device a core (vmap over "population")
processes    a process a core, each with its share of the members as `map`: what `lm-lab sweep`
             does on a CPU

Every way runs in its own processes, warm, and is timed between two points that all of them reach
together.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Literal

from absl import app, flags

WIDTH = flags.DEFINE_integer("width", 64, "of the decoder")
DEPTH = flags.DEFINE_integer("depth", 2, "of the decoder")
LENGTH = flags.DEFINE_integer("length", 64, "of a window")
BATCH = flags.DEFINE_integer("batch_size", 16, "windows a step")
MEMBERS = flags.DEFINE_integer("members", 8, "runs in the population")
SECONDS = flags.DEFINE_float("seconds", 4.0, "measured in a round, at least")
ROUNDS = flags.DEFINE_integer("rounds", 3, "rounds of all ways")
HOW: dict[str, Literal["vmap", "map"]] = {"vmap": "vmap", "map": "map"}
WAYS = flags.DEFINE_list("ways", ["one", "vmap", "map", "devices", "processes"], "what to measure")
FLAGS = flags.FLAGS
CHILD = flags.DEFINE_string("child", None, "internal: the way that this process runs")

STEPS_PER_CALL = 8


def main(argv: list[str]) -> None:
    del argv
    if CHILD.value:
        child(CHILD.value)
        return
    cores = sorted(os.sched_getaffinity(0))
    rates: dict[str, list[float]] = {way: [] for way in WAYS.value}
    workers = {way: start(way, cores) for way in WAYS.value}
    for _ in range(ROUNDS.value):
        for way, processes in workers.items():
            rates[way].append(measure(processes))
    for processes in workers.values():
        for process in processes:
            process.kill()
    print(f"{len(cores)} cores, {MEMBERS.value} members of width {WIDTH.value} x {DEPTH.value}")
    first = WAYS.value[0]
    for way, found in rates.items():
        ratios = [a / b for a, b in zip(found, rates[first])]
        share = (
            f"{statistics.median(ratios):.2f} of {first} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
        print(f"{way:10} {statistics.median(found):>10,.0f} tok/s  {share}")


def start(way: str, cores: list[int]) -> list[subprocess.Popen]:
    """Starts the processes of a way of placement; they have compiled, and wait."""
    if way == "processes":
        share = max(1, MEMBERS.value // len(cores))
        processes = [spawn("map", [core], share, 1) for core in cores]
    else:
        members = 1 if way == "one" else MEMBERS.value
        processes = [spawn(way, cores, members, len(cores) if way == "devices" else 1)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    return processes


def spawn(way: str, cores: list[int], members: int, devices: int) -> subprocess.Popen:
    command = [sys.executable, __file__, f"--child={way}", f"--members={members}"]
    command += [
        f"--{name}={FLAGS[name].value}"
        for name in ("width", "depth", "length", "batch_size", "seconds")
    ]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    pin = ["taskset", "-c", ",".join(map(str, cores))]
    return subprocess.Popen(
        [*pin, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def measure(processes: list[subprocess.Popen]) -> float:
    """The sum of the rates of processes that run at the same time."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(
        json.loads(process.stdout.readline()) for process in processes if process.stdout is not None
    )


def child(way: str) -> None:
    """Builds the program, prints "ready", and answers each line on stdin with a rate."""
    import jax

    from lm_lab import config as configs
    from lm_lab.data.text import Texts
    from lm_lab.train.compiled import compile_program
    from lm_lab.train.task import bind

    members, call = MEMBERS.value, STEPS_PER_CALL
    config = configs.override(
        configs.ConfigDict(), settings(jax.device_count() if way == "devices" else 1)
    )
    texts = Texts()
    tasks = [
        bind(*configs.resolve(configs.override(config, {"seed": seed})), texts)
        for seed in range(members)
    ]
    compiled = compile_program(tasks, how=HOW.get(way))
    state = compiled.start()
    examples = compiled.engine.batch(0, call, state)
    state, metrics = jax.block_until_ready(compiled.engine.step(state, examples))
    print("ready", flush=True)
    for _ in sys.stdin:
        begin, calls = time.monotonic(), 0
        while time.monotonic() - begin < SECONDS.value:
            examples = compiled.engine.batch(calls * call, call, state)
            state, metrics = compiled.engine.step(state, examples)
            jax.block_until_ready(metrics)
            calls += 1
        tokens = calls * call * members * BATCH.value * LENGTH.value
        print(json.dumps(tokens / (time.monotonic() - begin)), flush=True)


def settings(devices: int) -> dict:
    return {
        "model": {"family": "decoder", "width": WIDTH.value, "depth": DEPTH.value, "heads": 2},
        "objective.name": "causal",
        "data.length": LENGTH.value,
        "train.steps": 10**6,
        "train.batch_size": BATCH.value,
        "mesh.population": devices,
    }


if __name__ == "__main__":
    app.run(main)
