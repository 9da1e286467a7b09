"""PyTorch's nn.RNN, nn.GRU and nn.LSTM, as layers of an `rnn` model without norms and residuals.

Here every layer reads and writes the width of the stream, so input_size must be hidden_size, or
twice that for a bidirectional module. Torch has two biases where one is enough: reading adds them
up (except behind a GRU's reset gate), writing sets the second to 0.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lm_lab.interop.mapping import Rule, to_ours, to_theirs, transposed
from lm_lab.nn.cells import CELLS, Name
from lm_lab.nn.trees import flatten
from lm_lab.types import PyTree, UserError

MODULES: dict[tuple[str, str | None], Name] = {
    ("LSTM", None): "lstm",
    ("GRU", None): "gru",
    ("RNN", "tanh"): "elman_tanh",
    ("RNN", "relu"): "elman_relu",
}
"""Cells by the module's class and its nonlinearity."""


def read_config(tensors: Mapping[str, Any], cell: Name) -> dict[str, Any]:
    """The model's settings from a module's tensors (its state_dict).
    Raises UserError naming a wrong one.
    """
    names = [re.fullmatch(r"(?:weight|bias)_(?:ih|hh)_l(\d+)(_reverse)?", name) for name in tensors]
    if unmatched := [name for name, match in zip(tensors, names) if match is None]:
        raise UserError(
            f"tensor {unmatched[0]} is of no nn.RNN, nn.GRU or nn.LSTM without projections"
        )
    matches = [match for match in names if match]
    if "weight_ih_l0" not in tensors:
        raise UserError("tensor weight_ih_l0 is missing")
    rows, inputs = tensors["weight_ih_l0"].shape
    is_bidirectional = any(match.group(2) for match in matches)
    hidden = rows // CELLS[cell].gates
    width = hidden * (2 if is_bidirectional else 1)
    if rows % CELLS[cell].gates or inputs != width:
        raise UserError(
            f"tensor weight_ih_l0 has shape {[rows, inputs]}; layers here have one width, so "
            f"input_size must be {'twice ' if is_bidirectional else ''}hidden_size"
        )
    return {
        "cell": cell,
        "width": width,
        "depth": 1 + max(int(match.group(1)) for match in matches),
        "bidirectional": is_bidirectional,
        "bias": "bias_ih_l0" in tensors,
        "residual": False,
        "norm": None,
    }


def read(tensors: Mapping[str, np.ndarray], cell: Name) -> PyTree:
    """The parameters {"layers": ...} of `read_config`'s model. Raises
    UserError naming a wrong tensor.
    """
    fields = read_config(tensors, cell)
    depth, width, bias = fields["depth"], fields["width"], fields["bias"]
    size, directions = (width // 2, 2) if fields["bidirectional"] else (width, 1)
    gates = CELLS[cell].gates * size
    shapes_of_direction = {
        "input/kernel": (width, gates),
        "state/kernel": (size, gates),
        "bias": (gates,),
        "candidate_bias": (size,),
    }
    shapes = {
        f"{path}/{name}": (depth, *shape)
        for path in WAYS[:directions]
        for name, shape in shapes_of_direction.items()
    }
    return to_ours(_rules(cell, depth, directions, bias), tensors, shapes=shapes)


def write(params: PyTree, cell: Name) -> dict[str, np.ndarray]:
    """The tensors of a module from {"layers": ...}. Raises UserError
    for parameters not in torch.
    """
    leaves = flatten({"layers": params["layers"]})
    ways = 2 if any(path.startswith(WAYS[1]) for path in leaves) else 1
    depth = len(next(iter(leaves.values())))
    return to_theirs(
        _rules(cell, depth, ways, f"{WAYS[0]}/bias" in leaves), {"layers": params["layers"]}
    )


WAYS = ("layers/recurrent", "layers/reverse_recurrent")


def _rules(cell: Name, depth: int, ways: int, bias: bool) -> list[Rule]:
    return [
        rule
        for way in range(ways)
        for rule in _way(cell, WAYS[way], ("", "_reverse")[way], range(depth), bias)
    ]


def _way(cell: Name, path: str, ending: str, layers: Sequence[int], bias: bool) -> list[Rule]:
    """The rules of one direction: both libraries order the gates of LSTM and GRU alike."""
    rules = [
        transposed(f"{path}/input/kernel", f"weight_ih_l{{layer}}{ending}", layers),
        transposed(f"{path}/state/kernel", f"weight_hh_l{{layer}}{ending}", layers),
    ]
    theirs = (f"bias_ih_l{{layer}}{ending}", f"bias_hh_l{{layer}}{ending}")
    if bias and cell == "gru":
        ours = (f"{path}/bias", f"{path}/candidate_bias")
        rules.append(Rule(ours, theirs, _read_gru, _write_gru, tuple(layers)))
    elif bias:
        rules.append(
            Rule(
                (f"{path}/bias",),
                theirs,
                lambda x, h: (x + h,),
                lambda x: (x, np.zeros_like(x)),
                tuple(layers),
            )
        )
    return rules


def _read_gru(of_input: np.ndarray, of_state: np.ndarray) -> tuple[np.ndarray, ...]:
    size = len(of_state) // 3
    outer = np.concatenate([of_state[: 2 * size], np.zeros_like(of_state[:size])])
    return of_input + outer, of_state[2 * size :]


def _write_gru(bias: np.ndarray, candidate: np.ndarray) -> tuple[np.ndarray, ...]:
    return bias, np.concatenate([np.zeros_like(bias[: 2 * len(candidate)]), candidate])
