"""Training tokens a second of the encoder: lm_lab's compiled step against
transformers' BERT in PyTorch, in turns.

    python tools/bench_encoder.py    # both sizes, 5 rounds: about 15 minutes on 4 cores
    python tools/bench_encoder.py --size=128x4 --rounds=9 --modes=eager

One shape of model (BERT's, GELU exact, two kinds of segments, tied head, no dropout) and one rule
of training; turns as in tools/bench_training.py. lm_lab draws its masks at every step; PyTorch's
are drawn once.
"""

from argparse import Namespace
from contextlib import ExitStack

from bench_peers import ours, turns
from bench_peers.shape import SHAPES, bert_params
from bench_peers.turns import Turn


def contenders(size: str, flags: Namespace, stack: ExitStack) -> dict[str, Turn]:
    shape = SHAPES[size]
    config = {
        "model.family": "encoder",
        "model.kinds": 2,
        "model.heads": shape.heads,
        "objective.name": "masked",
    }
    modes = {f"transformers {mode}": mode for mode in flags.modes}
    return {
        "lm_lab": ours.contender(shape, bert_params(shape), config),
        **turns.torch_turns(flags.torch_python, "torch_bert", size, modes, stack),
    }


def main() -> None:
    parser = turns.parser(__doc__, SHAPES)
    parser.add_argument(
        "--modes", nargs="*", choices=turns.MODES, default=turns.MODES, help="of PyTorch"
    )
    turns.run("encoder", SHAPES, contenders, parser.parse_args())


if __name__ == "__main__":
    main()
