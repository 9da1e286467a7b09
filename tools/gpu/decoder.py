"""Tokens a second and model FLOPs utilisation of decoders, against the best published programs on
one H100.

A vocabulary of 50,304, learned positions, LayerNorm, a tied head, bfloat16 products on float32
parameters, AdamW with clipping, text through the loader. Rows are halved until the device has room.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax

from lm_lab.compute.conventions import Geometry
from tools.benchmarks.results import Row
from tools.gpu.job import Job, Part, Setting
from tools.gpu.program import Speed, against, language_model, measure, mfu, that_fits


class Size(NamedTuple):
    """A decoder, and what the best published program makes of it on one H100."""

    name: str
    width: int
    depth: int
    heads: int
    rows: int
    tokens: float = 0.0  # a second
    share: float = 0.0  # MFU
    source: str = ""
    length: int = 1024
    vocab: int = 50_304


SIZES = (
    Size("124M", 768, 12, 12, 32, 470e3, 0.41, "llm.c"),
    Size("350M", 1024, 24, 16, 16, 195e3, 0.48, "llm.c"),
    Size("760M", 1536, 24, 16, 16, 85e3, 0.43, "llm-foundry"),
    Size("1.3B", 2048, 24, 16, 8, 59e3, 0.51, "llm-foundry, llm.c"),
)
TINY = (Size("tiny", 32, 2, 2, 2, 1.0, 1.0, "nobody", 16, 320),)
VARIANTS: dict[str, dict[str, Any]] = {
    "layers scanned": {"model.scan": True},
    "one step a call": {"train.steps_per_call": 1},
    "logits of 256 tokens at a time": {"train.loss_chunk": 256},
    "plain attention": {"model.attention_kernel": "plain"},
}
LOSSES = 50  # steps of the comparison with float32


def config_of(size: Size, rehearse: bool, **changes: Any) -> Any:
    """The config of a size."""
    model = {"family": "decoder", "width": size.width, "depth": size.depth, "heads": size.heads}
    model |= {"vocab": size.vocab, "norm": "layer", "positions": "learned", "tied": True}
    sizes = {"data.length": size.length, "train.batch_size": size.rows}
    return language_model(model, rehearse, **(sizes | changes))


def jobs(setting: Setting) -> list[Job]:
    """The sizes, the loss in bfloat16 against float32, and the smallest size in other settings."""
    sizes = TINY if setting.rehearse else SIZES
    variants = dict(list(VARIANTS.items())[:1]) if setting.rehearse else VARIANTS
    first = sizes[0]
    return [
        *[Job(size.name, partial(speed, size, setting.rehearse)) for size in sizes],
        Job(f"{first.name}, O1", partial(at_o1, first, setting.rehearse)),
        *[
            Job(f"{first.name}, {name}", partial(variant, first, setting.rehearse, changes))
            for name, changes in variants.items()
        ],
        Job(f"{first.name}, loss", partial(losses, first, setting.rehearse)),
    ]


def speed(size: Size, rehearse: bool, left: float) -> Iterator[Row]:
    """Rows of a size, with as many rows as the device has room for."""
    del left

    def measured(rows: int) -> Speed:
        return measure(config_of(size, rehearse, **{"train.batch_size": rows}), rehearse)

    rows, found = that_fits(measured, size.rows)
    yield from _rows(f"{size.name}, {rows} rows", size, found)


def variant(size: Size, rehearse: bool, changes: dict[str, Any], left: float) -> Iterator[Row]:
    """Rows of a size in another setting."""
    del left
    yield from _rows("", size, measure(config_of(size, rehearse, **changes), rehearse))


def at_o1(size: Size, rehearse: bool, left: float) -> Iterator[Row]:
    """Rows of a size that XLA compiles with more effort than by default."""
    del left
    jax.config.update("jax_optimization_level", "O1")
    try:
        yield from _rows("", size, measure(config_of(size, rehearse), rehearse))
    finally:
        jax.config.update("jax_optimization_level", "UNKNOWN")


def _rows(name: str, size: Size, found: Speed) -> Iterator[Row]:
    """Tokens a second, MFU, parameters and the seconds until the first call has ended."""
    name = f"{name}, {found.params:,} parameters".removeprefix(", ")
    yield against(name, "tokens/s", found.tokens, size.tokens, size.source)
    heads = (size.heads, size.width // size.heads)
    shape = Geometry(found.params, 0, size.length, size.depth, *heads)  # N with embeddings
    kind = jax.devices()[0].device_kind
    shares = [mfu(kind, tokens, shape) for tokens in found.tokens]
    known = [share for share in shares if share is not None]
    if known:
        yield against(name, "MFU", known, size.share, size.source)
    yield Row(name, "s until the first call has ended", found.compiling)


def losses(size: Size, rehearse: bool, left: float) -> Iterator[Row]:
    """How far the losses in bfloat16 lie from those in float32, of the same batches."""
    del left
    found = []
    for dtype in ("float32", "bfloat16"):
        changes = {"precision.compute": dtype, "train.batch_size": max(1, size.rows // 4)}
        found.append(measure(config_of(size, rehearse, **changes), rehearse).losses)
    steps = min(LOSSES, *map(len, found))
    apart = [abs(single - half) for single, half in zip(*[each[:steps] for each in found])]
    name = f"the first {steps} steps, a quarter of the rows"
    yield Row(f"{name}, loss at the end", "nats", found[1][steps - 1], "float32 (tf32)")
    yield Row(f"{name}, largest difference", "nats", max(apart), "float32 (tf32)")


PART = Part(jobs, "decoders of 124M to 1.3B parameters: tokens/s and MFU", alone=True)
