"""An LSTM layer against cuDNN's published time, and Mamba against a decoder of its size."""

import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from lm_lab.engine.sharding import unbox
from lm_lab.nn.recurrent import Recurrent
from lm_lab.nn.segments import Segments
from lm_lab.types import Array, Inputs
from tools.benchmarks.results import Row
from tools.gpu.job import Job, Part, Setting
from tools.gpu.program import Speed, language_model, measure, that_fits

LSTM_BAR = 5.2  # ms: cuDNN in float16, 768 features, 16 rows of 1,024 tokens, one layer
MAMBA_BAR = 195e3  # tokens a second of about 55M parameters with a state of 16
SHARE_BAR = {1024: 0.55, 8192: 1.0}  # of our own decoder's tokens a second, by length
# of about 55M parameters each, tied embeddings of 50,304 tokens among them
MAMBA = {"family": "state_space", "width": 512, "depth": 18}
DECODER = {"family": "decoder", "width": 512, "depth": 9, "heads": 8}
TINY = {"width": 16, "depth": 1}
CALLS = 50

Kernel = Literal["auto", "plain"]


class Layer(nn.Module):
    """A recurrent layer on features f[B L D]."""

    features: int
    kernel: Kernel

    @nn.compact
    def __call__(self, x_BLD: Array) -> Array:
        info = Segments()(Inputs(jnp.zeros(x_BLD.shape[:2], jnp.int32), None))
        return Recurrent("lstm", self.features, True, self.kernel)(x_BLD, info)


def jobs(setting: Setting) -> list[Job]:
    """The LSTM by kernel and dtype, then the pair at both lengths."""
    shape = (2, 8, 16) if setting.rehearse else (16, 1024, 768)
    layers: list[tuple[Kernel, str]] = [
        ("auto", "float32"),
        ("plain", "float32"),
        ("plain", "bfloat16"),
    ]
    lengths = {16: 2} if setting.rehearse else {1024: 32, 8192: 4}  # rows by length
    return [
        *[
            Job(f"LSTM, {kernel}, {dtype}", partial(lstm, shape, kernel, dtype, setting.rehearse))
            for kernel, dtype in layers[: 1 if setting.rehearse else None]
        ],
        *[
            Job(f"Mamba, length {length}", partial(mamba, length, rows, setting.rehearse))
            for length, rows in lengths.items()
        ],
    ]


def lstm(
    shape: tuple[int, int, int], kernel: Kernel, dtype: str, rehearse: bool, left: float
) -> Iterator[Row]:
    """Milliseconds of the forward and backward pass of one layer, to its input and its weights."""
    del left
    layer, x_BLD = Layer(shape[-1], kernel), jax.random.normal(jax.random.key(0), shape, dtype)
    params = jax.jit(lambda key: unbox(layer.init(key, x_BLD)["params"]))(jax.random.key(1))

    def total(params: Any, x_BLD: Array) -> Array:
        h_BLD: Any = layer.apply({"params": params}, x_BLD)
        return h_BLD.astype(jnp.float32).sum()

    gradients = jax.jit(jax.grad(total, (0, 1)))
    jax.block_until_ready(gradients(params, x_BLD))
    times = []
    for _ in range(3 if rehearse else CALLS):
        begin = time.perf_counter()
        jax.block_until_ready(gradients(params, x_BLD))
        times.append(1000 * (time.perf_counter() - begin))
    ratios = [LSTM_BAR / each for each in times]
    name = f"[{shape[0]} {shape[1]} {shape[2]}], forward and backward"
    yield Row(name, "ms", statistics.median(times), "cuDNN, float16", LSTM_BAR, ratios)


def mamba(length: int, rows: int, rehearse: bool, left: float) -> Iterator[Row]:
    """Tokens a second of Mamba, and of a decoder of its size on the same batches."""
    del left
    found = {}
    for name, model in (("decoder", DECODER), ("Mamba", MAMBA)):
        rows, found[name] = that_fits(partial(_speed, model, length, rehearse), rows)
    ours, decoder = (statistics.median(found[name].tokens) for name in ("Mamba", "decoder"))
    words = f"{found['Mamba'].params:,} parameters, {rows} rows"
    bar = MAMBA_BAR if length == 1024 else None
    yield Row(words, "tokens/s", ours, "" if bar is None else "published", bar)
    yield Row(f"decoder of {found['decoder'].params:,} parameters", "tokens/s", decoder)
    share = SHARE_BAR.get(length)
    yield Row("Mamba / decoder", "of its tokens/s", ours / decoder, "bar", share)


def _speed(model: dict[str, Any], length: int, rehearse: bool, rows: int) -> Speed:
    sizes = {"vocab": 320, **TINY} if rehearse else {"vocab": 50_304}
    if rehearse and "heads" in model:
        sizes["heads"] = 2
    settings = {"data.length": length, "train.batch_size": rows}
    return measure(language_model(model | sizes | {"tied": True}, rehearse, **settings), rehearse)


PART = Part(jobs, "an LSTM layer, and Mamba against our own decoder", alone=True)
