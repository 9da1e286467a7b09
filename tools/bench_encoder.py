"""Training tokens a second of the encoder: lm_lab's compiled step against transformers' BERT in PyTorch, in turns.

    python tools/bench_encoder.py                      # both sizes, 5 rounds: about 15 minutes on 4 cores
    python tools/bench_encoder.py --size=128x4 --rounds=9 --modes=eager

One shape of model (BERT's, GELU exact, two kinds of segments, tied head, no dropout) and one rule of training; the
turns are those of tools/bench_training.py. lm_lab draws its masks at every step, the other has them given.
"""

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack

import bench_training
from bench_peers import shape as settings
from bench_peers.shape import SHAPES, Shape, bert_params
from ml_collections import ConfigDict

MODES = ("eager", "compiled")


def lm_lab_config(shape: Shape, steps_per_call: int, scan: bool) -> ConfigDict:
    config = bench_training.lm_lab_config(shape, steps_per_call, scan)
    config.model = ConfigDict({"family": "encoder", "kinds": 2})
    config.model.update(width=shape.width, depth=shape.depth, heads=shape.heads, vocab=settings.VOCAB, scan=scan)
    config.objective = ConfigDict({"name": "masked"})
    return config


def contenders(size: str, python: str, modes: list[str], stack: ExitStack) -> dict[str, bench_training.Turn]:
    shape = SHAPES[size]
    take_turn = bench_training.contender(shape, lm_lab_config(shape, 10, False), bert_params(shape))
    turns = {"lm_lab": bench_training.timed(take_turn)}
    for mode in modes:
        command = [python, "-m", "bench_peers.torch_bert", size, mode]
        turns[f"transformers {mode}"] = bench_training.torch_contender(command, stack)
    return turns


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
