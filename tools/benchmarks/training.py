"""Training tokens a second: lm_lab's compiled step against plain Flax and PyTorch, in turns.

decoder           a plain Flax step, and a GPT-2 in PyTorch
lstm, gru         flax's nn.RNN, and torch's layers
encoder           transformers' BERT; lm_lab draws its masks at every step, PyTorch's are drawn once
encoder-decoder   transformers' T5; only tokens of the text are targets, so that a target costs
                  about twice what one of a decoder does
settings          a decoder against itself: scanned layers, steps a call

All of a kind train the same shape of model by the same rule (tools/benchmarks/peers/shape.py).
"""

import importlib.util
import os
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest.mock import patch

from tools.benchmarks.peers import flax_rnn, ours, plain_flax
from tools.benchmarks.peers.shape import (
    RECURRENT_SHAPES,
    SHAPES,
    Shape,
    bert_params,
    gpt_params,
    rnn_params,
    t5_params,
)
from tools.benchmarks.results import Row, rates
from tools.benchmarks.turns import MODES, Turn, alternate, torch_turns

Turns = dict[str, Turn]  # by label; lm_lab's is "lm_lab"
TorchTurns = Callable[[str, dict[str, str]], Turns]  # (module, mode by label)
GPT = {"model.norm": "layer", "model.positions": "learned", "model.tied": True}


def add_flags(parser: ArgumentParser) -> None:
    sizes = [*SHAPES, *RECURRENT_SHAPES]
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--size", nargs="+", choices=sizes, default=sizes)
    parser.add_argument("--modes", nargs="*", choices=MODES, default=MODES, help="of PyTorch")
    own = sys.executable if importlib.util.find_spec("torch") else None
    words = "an interpreter with torch and transformers; default: this one, where it has torch"
    parser.add_argument("--torch-python", default=own, help=words)


def run(flags: Namespace) -> Iterator[Row]:
    for kind in flags.kind:
        shapes = RECURRENT_SHAPES if kind in ("lstm", "gru") else SHAPES
        for size in [size for size in shapes if size in flags.size][: 1 if flags.quick else None]:
            shape = shapes[size]
            with tempfile.TemporaryDirectory() as cache, ExitStack() as stack:
                stack.enter_context(patch.dict(os.environ, LM_LAB_CACHE=cache))

                def torch(module: str, modes: dict[str, str]) -> Turns:
                    return torch_turns(flags.torch_python, module, size, modes, stack)  # noqa: B023

                modes = flags.modes[:1] if flags.quick else flags.modes
                turns = KINDS[kind](shape, torch, modes)
                seconds = alternate(turns, flags.rounds)
            yield from rates(f"{kind} {size}", "tokens/s", shape.tokens, "lm_lab", seconds)


def decoder(shape: Shape, torch: TorchTurns, modes: list[str]) -> Turns:
    return {
        "lm_lab": gpt(shape),
        "plain Flax": plain_flax.contender(shape),
        **torch("torch_gpt", {f"PyTorch {mode}": mode for mode in modes}),
    }


def settings(shape: Shape, torch: TorchTurns, modes: list[str]) -> Turns:
    del torch, modes
    turns = {"lm_lab": gpt(shape), "layers scanned": gpt(shape, scan=True)}
    return turns | {f"{k} steps a call": gpt(shape, k) for k in (1, 5)}


def gpt(shape: Shape, steps_per_call: int = 10, scan: bool = False) -> Turn:
    model = {"model.family": "decoder", "model.heads": shape.heads, "model.scan": scan, **GPT}
    return ours.contender(
        shape, gpt_params(shape), model | {"train.steps_per_call": steps_per_call}
    )


def recurrent(cell: str, shape: Shape, torch: TorchTurns, modes: list[str]) -> Turns:
    del modes
    config = {"family": "rnn", "cell": cell, "residual": False, "norm": None}
    config = {f"model.{name}": value for name, value in config.items()}
    return {
        "lm_lab": ours.contender(shape, rnn_params(shape, cell), config),
        "flax nn.RNN": flax_rnn.contender(shape, cell),
        **torch("torch_rnn", {f"torch nn.{cell.upper()}": cell}),
    }


def encoder(shape: Shape, torch: TorchTurns, modes: list[str]) -> Turns:
    config = {
        "model.family": "encoder",
        "model.kinds": 2,
        "model.heads": shape.heads,
        "objective.name": "masked",
    }
    return {
        "lm_lab": ours.contender(shape, bert_params(shape), config),
        **torch("torch_bert", {f"transformers {mode}": mode for mode in modes}),
    }


def encoder_decoder(shape: Shape, torch: TorchTurns, modes: list[str]) -> Turns:
    model = {"model.family": "encoder_decoder", "model.heads": shape.heads}
    head = {"model.tied": True, "model.head_scaling": True}
    windows = 2 * shape.length - 1  # and a token more: the context's tokens, and as many targets
    halves: dict[str, Any] = {
        "objective.name": "continuation",
        "objective.given": shape.length / windows,
        "data.length": windows,
    }
    return {
        "lm_lab": ours.contender(shape, t5_params(shape), model | head | halves),
        **torch("torch_t5", {f"transformers {mode}": mode for mode in modes}),
    }


KINDS: dict[str, Callable[[Shape, TorchTurns, list[str]], Turns]] = {
    "decoder": decoder,
    "lstm": partial(recurrent, "lstm"),
    "gru": partial(recurrent, "gru"),
    "encoder": encoder,
    "encoder-decoder": encoder_decoder,
    "settings": settings,
}
