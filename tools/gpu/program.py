"""The compiled program of `lm-lab train` with the batches that its loader reads, timed."""

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from lm_lab.compute.conventions import CONVENTIONS, Geometry
from lm_lab.compute.device import utilisation
from lm_lab.config import override
from tools.benchmarks.results import Row
from tools.benchmarks.trainer import Trainer

ROUNDS = 3
SECONDS = 3.0  # of a round, at least
NO_ROOM = ("RESOURCE_EXHAUSTED", "Out of memory")


class Speed(NamedTuple):
    """What a program has shown."""

    params: int  # with embeddings
    tokens: list[float]  # a second, in each round
    step: float  # seconds, the median
    losses: list[float]  # nats a token of each step, from the first one on
    compiling: float  # seconds, with the first call


def language_model(model: dict[str, Any], rehearse: bool, **changes: Any) -> ConfigDict:
    """The config of a causal language model on text by the byte, in bfloat16; its vocabulary is
    larger than the tokenizer's, as speed asks for the shapes of a large one.
    """
    settings = {
        **{f"model.{name}": value for name, value in model.items()},
        "objective.name": "causal",
        "data.source": "synthetic" if rehearse else "stdlib",
        "data.tokenizer": "byte",
        "precision.compute": "bfloat16",
        "optimizer.peak_rate": 6e-4,
        "schedule.warmup_steps": 10,
        "train.steps": 10_000,
        "train.steps_per_call": 2 if rehearse else 10,
        "train.eval_batches": 1,
    }
    return override(ConfigDict(), settings | changes)


def measure(config: ConfigDict, rehearse: bool) -> Speed:
    """Trains on one batch of the loader after another: a call that compiles, then rounds."""
    begin = time.perf_counter()
    trainer, calls, losses = Trainer(config), 0, list[float]()

    def call() -> None:
        nonlocal calls
        calls += 1
        metrics = trainer.call()
        trainer.examples = trainer.read(calls)  # while the device computes
        sums = jax.device_get({name: metrics[name] for name in ("nll", "weight")})
        losses.extend((sums["nll"] / sums["weight"]).ravel().tolist())

    call()
    compiling = time.perf_counter() - begin
    rounds = [
        round_of(call, 0.0 if rehearse else SECONDS) for _ in range(1 if rehearse else ROUNDS)
    ]
    experiment = trainer.experiment
    tokens = experiment.train.batch_size * experiment.data.length * trainer.steps
    seconds = statistics.median(rounds)
    return Speed(
        trainer.program.program.params["total"],
        [tokens / each for each in rounds],
        seconds / trainer.steps,
        losses,
        compiling,
    )


def round_of(call: Callable[[], None], seconds: float) -> float:
    """Seconds of a call, of as many as take so many seconds."""
    begin, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - begin < seconds:
        call()
        calls += 1
    return (time.perf_counter() - begin) / calls


def that_fits(measured: Callable[[int], Speed], rows: int) -> tuple[int, Speed]:
    """The rows, halved until the device has room for them, and what they show."""
    while True:
        try:
            return rows, measured(rows)
        except (RuntimeError, ValueError) as error:
            if rows == 1 or not any(words in str(error) for words in NO_ROOM):
                raise
        jax.clear_caches()
        rows //= 2


def mfu(kind: str, tokens_per_second: float, shape: Geometry) -> float | None:
    """The share of a device's bfloat16 peak that PaLM's FLOPs of a token are; None where no data
    sheet of the kind is known.
    """
    flops = CONVENTIONS["palm"].per_token(shape) * tokens_per_second
    return utilisation(flops, kind, "bfloat16")


def against(name: str, unit: str, ours: Iterable[float], bar: float, source: str) -> Row:
    """Rounds of ours against a published figure; a ratio above 1 where ours is better."""
    each = list(ours)
    return Row(name, unit, statistics.median(each), source, bar, [one / bar for one in each])
