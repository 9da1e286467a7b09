"""Training targets a second of the encoder-decoder: lm_lab's compiled step against transformers' T5, in turns.

    python tools/bench_encoder_decoder.py                      # both sizes, 5 rounds: about 20 minutes on 4 cores
    python tools/bench_encoder_decoder.py --size=128x4 --rounds=9 --modes eager

One shape of model (T5 v1.0: as many layers of each side, relative positions, ReLU, tied head, no dropout) and one rule
of training; the turns are those of tools/bench_training.py. A context and its text are a length each, and a target is a
token of the text: a target costs about twice what one of a decoder does.
"""

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack

import bench_training
from bench_peers import shape as settings
from bench_peers.shape import SHAPES, Shape, t5_params
from ml_collections import ConfigDict

MODES = ("eager", "compiled")


def lm_lab_config(shape: Shape, scan: bool = False) -> ConfigDict:
    config = bench_training.lm_lab_config(shape, 10, scan)
    config.model = ConfigDict({"family": "encoder_decoder", "tied": True, "head_scaling": True, "scan": scan})
    config.model.update(width=shape.width, depth=shape.depth, heads=shape.heads, vocab=settings.VOCAB)
    windows = 2 * shape.length - 1  # and a token more: the context's tokens, and as many targets
    config.objective = ConfigDict({"name": "continuation", "given": shape.length / windows})
    config.data = ConfigDict({"source": "synthetic", "tokenizer": "byte", "length": windows})
    return config


def contenders(size: str, python: str, modes: list[str], stack: ExitStack) -> dict[str, bench_training.Turn]:
    shape = SHAPES[size]
    turns = {"lm_lab": lm_lab(shape), "layers scanned": lm_lab(shape, scan=True)}
    for mode in modes:
        command = [python, "-m", "bench_peers.torch_t5", size, mode]
        turns[f"transformers {mode}"] = bench_training.torch_contender(command, stack)
    return turns


def lm_lab(shape: Shape, scan: bool = False) -> bench_training.Turn:
    return bench_training.timed(bench_training.contender(shape, lm_lab_config(shape, scan), t5_params(shape)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[*SHAPES, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--modes", nargs="*", choices=MODES, default=MODES, help="of PyTorch")
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter with torch and transformers")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LM_LAB_CACHE"] = cache
        for size in SHAPES if flags.size == "all" else [flags.size]:
            with ExitStack() as stack:
                turns = contenders(size, flags.torch_python, flags.modes, stack)
                bench_training.show(size, bench_training.compare(turns, flags.rounds))


if __name__ == "__main__":
    main()
