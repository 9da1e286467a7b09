"""Training tokens a second: lm_lab's compiled step against a plain Flax
step and a GPT-2 in PyTorch, in turns.

    python tools/bench_training.py    # both sizes, 5 rounds: about 10 minutes on 4 cores
    python tools/bench_training.py --size=128x4 --rounds=9
    python tools/bench_training.py --torch-python=other_env/bin/python

All train the same shape of model by the same rule (tools/bench_peers/shape.py) and take turns
(tools/bench_peers/turns.py, with a word on shared machines). docs/speed.md keeps the figures.
"""

from argparse import Namespace
from contextlib import ExitStack

from bench_peers import ours, plain_flax, turns
from bench_peers.shape import SHAPES, Shape, gpt_params
from bench_peers.turns import Turn


def lm_lab(shape: Shape, steps_per_call: int = 10, scan: bool = False) -> Turn:
    model = {"model.family": "decoder", "model.heads": shape.heads, "model.scan": scan}
    kind = {"model.norm": "layer", "model.positions": "learned", "model.tied": True}
    return ours.contender(
        shape, gpt_params(shape), model | kind | {"train.steps_per_call": steps_per_call}
    )


def contenders(size: str, flags: Namespace, stack: ExitStack) -> dict[str, Turn]:
    shape = SHAPES[size]
    if flags.internal:
        return internal(shape)
    modes = {f"PyTorch {mode}": mode for mode in turns.MODES}
    return {
        "lm_lab": lm_lab(shape),
        "plain Flax": plain_flax.contender(shape),
        **turns.torch_turns(flags.torch_python, "torch_gpt", size, modes, stack),
    }


def internal(shape: Shape) -> dict[str, Turn]:
    """lm_lab against itself: steps a call, and scanned instead of unrolled layers."""
    turns = {"lm_lab": lm_lab(shape), "layers scanned": lm_lab(shape, scan=True)}
    return turns | {f"{k} steps a call": lm_lab(shape, k) for k in (1, 5) if k < shape.steps}


def main() -> None:
    parser = turns.parser(__doc__, SHAPES)
    parser.add_argument(
        "--internal", action="store_true", help="compare lm_lab's own settings instead of its peers"
    )
    turns.run("decoder", SHAPES, contenders, parser.parse_args())


if __name__ == "__main__":
    main()
