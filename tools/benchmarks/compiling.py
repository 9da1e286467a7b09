"""Seconds from the start of a decoder to the end of its first call, by depth: scanned layers beside
unrolled ones.

CPU-seconds of all threads: of tracing (shapes, the count of FLOPs, the step lowered), of compiling
the step, and of the whole with the initial state and a call of 10 steps. Each start is built anew;
nothing comes from a cache on disk.
"""

import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from lm_lab import config as configs
from lm_lab.engine import sharding
from lm_lab.train.compiled import compile_program
from lm_lab.train.task import bind
from tools.benchmarks.results import Row

PHASES = ("tracing", "compiling", "start to first call")


class Seconds(NamedTuple):
    """CPU-seconds of a start."""

    tracing: float
    compiling: float
    whole: float


def add_flags(parser: ArgumentParser) -> None:
    words = "of the decoders, whose width is 64"
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 8, 32, 64], help=words)


def run(flags: Namespace) -> Iterator[Row]:
    rounds = 1 if flags.quick else min(flags.rounds, 3)
    jax.config.update("jax_enable_compilation_cache", False)
    started(2, True)  # what is cached once
    for depth in [2] if flags.quick else flags.depths:
        pairs = []
        for round_ in range(rounds):
            order = (True, False) if round_ % 2 == 0 else (False, True)
            found = {scan: started(depth, scan) for scan in order}
            pairs.append((found[True], found[False]))
        for index, phase in enumerate(PHASES):
            scanned, unrolled = (
                statistics.median(each[index] for each in side) for side in zip(*pairs)
            )
            ratios = [there[index] / here[index] for here, there in pairs]
            name = f"{depth} layers scanned, {phase}"
            yield Row(name, "s of CPU", scanned, "unrolled", unrolled, ratios)
    jax.config.update("jax_enable_compilation_cache", True)


def started(depth: int, scan: bool) -> Seconds:
    """The start of a run, as training begins one."""
    jax.clear_caches()
    clock = time.process_time
    task = bind(*configs.resolve(_config(depth, scan)))
    began = clock()
    compiled = compile_program([task])
    counted = clock()
    state = compiled.start()
    examples = compiled.engine.batch(0, 10, state)
    begun = clock()
    with sharding.use(compiled.mesh):
        lowered = compiled.engine.step.jitted.lower(state, examples)
        traced = clock()
        step = lowered.compile()
        done = clock()
        jax.block_until_ready(step(state, examples))
    return Seconds(counted - began + traced - begun, done - traced, clock() - began)


def _config(depth: int, scan: bool) -> configs.ConfigDict:
    settings: dict[str, Any] = {
        "model": {"family": "decoder", "width": 64, "depth": depth, "heads": 2, "scan": scan},
        "objective.name": "causal",
        "data.length": 64,
        "train.steps": 100,
        "train.batch_size": 8,
    }
    return configs.override(configs.ConfigDict(), settings)
