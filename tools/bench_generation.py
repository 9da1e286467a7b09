"""Speed of generation and size of the cache of each family, against the length of the context.

    python tools/bench_generation.py --contexts=64,256,1024,4096 --rounds=3 \\
        --figure=docs/generation.png

A model of every family at one width and depth reads a context of random bytes, and then writes
--new_tokens tokens in one compiled scan. Tokens a second are of all rows together, without reading
the context; bytes of cache are of one row. Families take turns in every round; the table shows
medians and, in brackets, the extremes.
"""

import statistics
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from lm_lab import generation, registry
from lm_lab.engine.sharding import unbox
from lm_lab.generation.logits import Config
from lm_lab.generation.sampling import start, write
from lm_lab.report import formatting, style
from lm_lab.types import Inputs

CONTEXTS = flags.DEFINE_list(
    "contexts", ["64", "256", "1024", "4096"], "lengths of the context, in tokens"
)
WIDTH = flags.DEFINE_integer("width", 128, "of every model")
DEPTH = flags.DEFINE_integer("depth", 4, "of every model")
ROWS = flags.DEFINE_integer("rows", 8, "texts at a time")
NEW = flags.DEFINE_integer("new_tokens", 64, "tokens that are timed")
ROUNDS = flags.DEFINE_integer("rounds", 3, "rounds of all families")
DTYPE = flags.DEFINE_string("dtype", "float32", "of parameters and cache")
FIGURE = flags.DEFINE_string("figure", None, "where to draw it, as PNG")

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
        config = module.Config(width=WIDTH.value, depth=DEPTH.value, vocab=VOCAB, **settings)
        self._model = module.Model(config)
        self._config = Config(new_tokens=NEW.value)
        tokens = np.random.default_rng(0).integers(0, 256, (ROWS.value, context)).tolist()
        if module.needs_context:  # the encoder reads the prompt; the decoder starts with one token
            prompt = generation.prompts([[0]] * ROWS.value, tokens)
        else:
            prompt = generation.prompts(tokens)
        params = jax.jit(lambda key: unbox(self._model.init(key, _short(prompt))["params"]))(
            jax.random.key(0)
        )
        self._variables = {"params": jax.tree.map(lambda x: x.astype(DTYPE.value), params)}
        self._writing = jax.jit(partial(start, self._model, self._config))(self._variables, prompt)
        self._write = jax.jit(partial(write, self._model, self._config, ()), static_argnums=2)
        self.cache_bytes = generation.cache_bytes(self._writing.cache) / ROWS.value
        self.rates: list[float] = []
        self._run()

    def _run(self) -> float:
        begin = time.perf_counter()
        jax.block_until_ready(self._write(self._variables, self._writing, NEW.value))
        return ROWS.value * NEW.value / (time.perf_counter() - begin)

    def measure(self) -> None:
        """Times one round."""
        self.rates.append(self._run())


def _short(prompt: Inputs) -> Inputs:
    return jax.tree.map(lambda x: jnp.asarray(x)[:1, :2], prompt)


def main(argv: list[str]) -> None:
    del argv
    found: list[Contender] = []
    for context in map(int, CONTEXTS.value):
        contenders = [Contender(label, context) for label in CONTENDERS]
        for _ in range(ROUNDS.value):
            for contender in contenders:
                contender.measure()
        found += contenders
    print(
        f"{jax.devices()[0].device_kind}, {ROWS.value} rows, "
        f"width {WIDTH.value}, depth {DEPTH.value}, {DTYPE.value}\n"
    )
    print("\n".join(table(found)))
    if FIGURE.value:
        draw(found, FIGURE.value)


def table(found: list[Contender]) -> list[str]:
    """A Markdown table: one line for each family, tokens a second and bytes of cache by length of
    context.
    """
    contexts = sorted({item.context for item in found})
    lines = ["| family | " + " | ".join(f"{context:,} tokens" for context in contexts) + " |"]
    lines.append("| --- |" + " --- |" * len(contexts))
    for label in CONTENDERS:
        own = sorted((item for item in found if item.label == label), key=lambda item: item.context)
        cells = [
            f"{statistics.median(item.rates):,.0f} tok/s [{min(item.rates):,.0f}, "
            f"{max(item.rates):,.0f}], {formatting.short(item.cache_bytes)}B"
            for item in own
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


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
            rates = [statistics.median(item.rates) for item in own]
            left.plot(contexts, rates, mark["marker"] + "-", label=label, **line)  # pyright: ignore[reportArgumentType]
            sizes = [item.cache_bytes for item in own]
            right.plot(contexts, sizes, mark["marker"] + "-", **line)  # pyright: ignore[reportArgumentType]
        contexts = sorted({float(item.context) for item in found})
        quantities = [
            [rate for item in found for rate in item.rates],
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


if __name__ == "__main__":
    app.run(main)
