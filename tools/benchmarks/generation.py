"""Speed of generation and size of the cache of each family, against the length of the context.

A model of every family at one width and depth reads a context of random bytes, and then writes 64
tokens in one compiled scan. Tokens a second are of all 8 rows together, without reading the
context; bytes of cache are of one row.
"""

import statistics
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lm_lab import generation, registry
from lm_lab.engine.sharding import unbox
from lm_lab.generation.logits import Config
from lm_lab.generation.sampling import start, write
from lm_lab.report import style
from lm_lab.types import Inputs
from tools.benchmarks.results import Row
from tools.benchmarks.turns import alternate, timed

WIDTH, DEPTH, ROWS, NEW_TOKENS = 128, 4, 8, 64
VOCAB = 257
CONTENDERS: dict[str, dict[str, Any]] = {
    "decoder": {"family": "decoder", "heads": 4},
    "decoder, 1 key head": {"family": "decoder", "heads": 4, "kv_heads": 1},
    "decoder, window 128": {"family": "decoder", "heads": 4, "window": 128},
    "LSTM": {"family": "rnn", "cell": "lstm"},
    "Mamba": {"family": "state_space", "block": "mamba"},
    "Griffin": {
        "family": "state_space",
        "block": "rg_lru",
        "attention_every": 3,
        "heads": 4,
        "window": 128,
    },
    "encoder-decoder": {"family": "encoder_decoder", "heads": 4},
}


class Contender:
    """A compiled model at one length of context, and its measurements."""

    def __init__(self, label: str, context: int) -> None:
        self.label, self.context = label, context
        settings = dict(CONTENDERS[label])
        module = registry.load("models", settings.pop("family"), "family")
        config = module.Config(width=WIDTH, depth=DEPTH, vocab=VOCAB, **settings)
        self._model = module.Model(config)
        self._config = Config(new_tokens=NEW_TOKENS)
        tokens = np.random.default_rng(0).integers(0, 256, (ROWS, context)).tolist()
        if module.needs_context:  # the encoder reads the prompt; the decoder starts with one token
            prompt = generation.prompts([[0]] * ROWS, tokens)
        else:
            prompt = generation.prompts(tokens)
        params = jax.jit(lambda key: unbox(self._model.init(key, _short(prompt))["params"]))(
            jax.random.key(0)
        )
        self._variables = {"params": params}
        self._writing = jax.jit(partial(start, self._model, self._config))(self._variables, prompt)
        self._write = jax.jit(partial(write, self._model, self._config, ()), static_argnums=2)
        self.cache_bytes = generation.cache_bytes(self._writing.cache) / ROWS
        self.seconds: list[float] = []

    def write(self) -> None:
        """Writes the tokens."""
        jax.block_until_ready(self._write(self._variables, self._writing, NEW_TOKENS))

    @property
    def rate(self) -> float:
        """Tokens a second, median."""
        return ROWS * NEW_TOKENS / statistics.median(self.seconds)


def _short(prompt: Inputs) -> Inputs:
    return jax.tree.map(lambda x: jnp.asarray(x)[:1, :2], prompt)


def add_flags(parser: ArgumentParser) -> None:
    lengths = "of the context, in tokens"
    parser.add_argument(
        "--contexts", type=int, nargs="+", default=[64, 256, 1024, 4096], help=lengths
    )
    parser.add_argument("--generation-figure", metavar="FILE", help="where to draw it, as PNG")


def run(flags: Namespace) -> Iterator[Row]:
    found: list[Contender] = []
    for context in [64] if flags.quick else flags.contexts:
        contenders = {label: Contender(label, context) for label in CONTENDERS}
        turns = {label: timed(each.write) for label, each in contenders.items()}
        for label, seconds in alternate(turns, flags.rounds).items():
            contenders[label].seconds = seconds
            name = f"{label}, context {context:,}"
            yield Row(name, "tokens/s", contenders[label].rate)
            yield Row(name, "bytes of cache a row", contenders[label].cache_bytes)
        found += contenders.values()
    if flags.generation_figure:
        draw(found, flags.generation_figure)


def draw(found: list[Contender], path: str) -> None:
    """Two panels over the context: tokens a second, and bytes of cache a row."""
    with style.applied():
        figure, (left, right) = style.panels(style.PAGE_INCHES, 3.1, 2)
        for place, (label, mark) in enumerate(style.of_series(list(CONTENDERS)).items()):
            own = sorted(
                (item for item in found if item.label == label), key=lambda item: item.context
            )
            contexts = [item.context for item in own]
            # Later lines are thinner, so that a line below another stays visible.
            width = 1 - place / (len(CONTENDERS) - 1)
            line = {
                "color": mark["color"],
                "linewidth": 0.9 + 1.9 * width,
                "markersize": 2.5 + 3.0 * width,
            }
            left.plot(
                contexts, [item.rate for item in own], mark["marker"] + "-", label=label, **line
            )  # pyright: ignore[reportArgumentType]
            sizes = [item.cache_bytes for item in own]
            right.plot(contexts, sizes, mark["marker"] + "-", **line)  # pyright: ignore[reportArgumentType]
        contexts = sorted({float(item.context) for item in found})
        quantities = [
            [item.rate for item in found],
            [item.cache_bytes for item in found],
        ]
        for axes, values, words in zip(
            (left, right), quantities, ("tokens a second", "bytes of cache, a row")
        ):
            style.log_axis(axes.xaxis, *style.spread(contexts, 0.05))
            style.log_axis(axes.yaxis, *style.spread(values, 0.06))
            axes.set_xlabel("context (tokens)")
            axes.set_ylabel(words)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, handlelength=1.8)
        figure.savefig(path)
