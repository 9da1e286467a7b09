"""Training targets a second of the encoder-decoder: lm_lab's compiled
step against transformers' T5, in turns.

    python tools/bench_encoder_decoder.py    # both sizes, 5 rounds: about 20 minutes on 4 cores
    python tools/bench_encoder_decoder.py --size=128x4 --rounds=9 --modes eager

One shape of model (T5 v1.0: as many layers of each side, relative positions, ReLU, tied head, no
dropout) and one rule of training; turns as in tools/bench_training.py. A context and a text have
one length each, and only tokens of the text are targets: a target costs about twice what one of a
decoder does.
"""

from argparse import Namespace
from contextlib import ExitStack

from bench_peers import ours, turns
from bench_peers.shape import SHAPES, Shape, t5_params
from bench_peers.turns import Turn


def lm_lab(shape: Shape, scan: bool = False) -> Turn:
    model = {"model.family": "encoder_decoder", "model.heads": shape.heads, "model.scan": scan}
    head = {"model.tied": True, "model.head_scaling": True}
    windows = 2 * shape.length - 1  # and a token more: the context's tokens, and as many targets
    halves = {
        "objective.name": "continuation",
        "objective.given": shape.length / windows,
        "data.length": windows,
    }
    return ours.contender(shape, t5_params(shape), model | head | halves)


def contenders(size: str, flags: Namespace, stack: ExitStack) -> dict[str, Turn]:
    shape = SHAPES[size]
    modes = {f"transformers {mode}": mode for mode in flags.modes}
    return {
        "lm_lab": lm_lab(shape),
        "layers scanned": lm_lab(shape, scan=True),
        **turns.torch_turns(flags.torch_python, "torch_t5", size, modes, stack),
    }


def main() -> None:
    parser = turns.parser(__doc__, SHAPES)
    parser.add_argument(
        "--modes", nargs="*", choices=turns.MODES, default=turns.MODES, help="of PyTorch"
    )
    turns.run("encoder-decoder", SHAPES, contenders, parser.parse_args())


if __name__ == "__main__":
    main()
