"""Training tokens a second of an LSTM and a GRU: lm_lab's step against
torch's and flax's layers, in turns.

    python tools/bench_recurrent.py    # every size and cell: about 10 minutes
    taskset -c 0 python tools/bench_recurrent.py --size=256x2   # on one core
    python tools/bench_recurrent.py --torch-python=other_env/bin/python

The same model, batch and optimizer (tools/bench_peers/shape.py);
turns as in tools/bench_training.py.
"""

from argparse import Namespace
from contextlib import ExitStack
from functools import partial

from bench_peers import flax_rnn, ours, turns
from bench_peers.shape import GATES, RECURRENT_SHAPES, rnn_params
from bench_peers.turns import Turn


def contenders(cell: str, size: str, flags: Namespace, stack: ExitStack) -> dict[str, Turn]:
    shape = RECURRENT_SHAPES[size]
    config = {
        "model.family": "rnn",
        "model.cell": cell,
        "model.residual": False,
        "model.norm": None,
    }
    return {
        "lm_lab": ours.contender(shape, rnn_params(shape, cell), config),
        "flax nn.RNN": flax_rnn.contender(shape, cell),
        **turns.torch_turns(
            flags.torch_python, "torch_rnn", size, {f"torch nn.{cell.upper()}": cell}, stack
        ),
    }


def main() -> None:
    parser = turns.parser(__doc__, RECURRENT_SHAPES)
    parser.add_argument("--cell", choices=[*GATES, "all"], default="all")
    flags = parser.parse_args()
    for cell in GATES if flags.cell == "all" else [flags.cell]:
        turns.run(cell, RECURRENT_SHAPES, partial(contenders, cell), flags)


if __name__ == "__main__":
    main()
