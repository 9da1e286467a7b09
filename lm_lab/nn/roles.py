"""The role of each parameter: given where the parameter is made, and stored in its box of logical
axes.

Weight decay, the counts of parameters by group and the layers that low-rank adapters adapt follow
from roles.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import flax.linen as nn
import jax
from flax import struct

from lm_lab.types import PyTree

Part = Literal[
    "norm", "positions", "head", "embedding", "attention", "recurrent", "feed_forward", "other"
]
"""The part of a model that a parameter is of."""

Kind = Literal["kernel", "expert_kernels", "low_rank", "embedding", "vector"]
"""The matrix of a product; those of all experts, whose third axis from the end counts them; a
factor of what an adapter adds to a kernel; a table that is read by row; and what acts feature by
feature: scales, biases, the taps of a convolution, rates of decay.
"""

# The part of a name stack, or of a parameter without a role: the first one with a pattern that
# matches a name (without a trailing _<number>). The order decides between two matches:
# attention_norm is a norm, positions/embedding are positions.
PATTERNS: dict[Part, tuple[str, ...]] = {
    "norm": ("*norm*",),
    "positions": ("positions", "*_positions", "kinds"),
    "head": ("head", "*_head", "readout", "attend", "pooler"),
    "embedding": ("embed", "*_embed", "embedding", "*_embedding"),
    "attention": ("attention", "*_attention"),
    "recurrent": ("recurrent", "*_recurrent", "*lstm*", "*gru*", "rnn", "state_space", "ssm"),
    "feed_forward": ("feed_forward", "*_feed_forward", "experts", "transform"),
}


@dataclass(frozen=True)
class Role:
    """What a parameter is for."""

    kind: Kind = "vector"
    part: Part = "other"
    rate: float = 1.0  # share of the learning rate, by the width of the model (nn/transfer.py)

    @property
    def is_kernel(self) -> bool:
        """Whether inputs are multiplied with it."""
        return self.kind in ("kernel", "expert_kernels")

    @property
    def is_decayed(self) -> bool:
        """Whether weight decay applies: to matrices and tables. The shape does not tell, as a
        norm's scale stacked over layers is f32[N D].
        """
        return self.kind != "vector"


class Parameter(nn.LogicallyPartitioned):
    """The box of a parameter: its logical axes, and its role."""

    role: Role = struct.field(default=Role(), pytree_node=False)


def roles(params: PyTree) -> PyTree:
    """A tree with a Role in the place of each array or box of `params`, which may be abstract.

    A parameter without a box of ours comes from a layer of flax or of a user (nn.Dense,
    self.param), or was read from a file. Its name gives the role, by flax's conventions:
    `embedding` is a table, a name that ends in `kernel` a matrix, all else a vector.
    """
    return jax.tree_util.tree_map_with_path(_role, params, is_leaf=_is_box)


def stacked(params: PyTree) -> PyTree:
    """A tree with a bool in the place of each array or box of `params`: whether its first axis
    counts layers (nn/stack.py).
    """
    return jax.tree.map(
        lambda leaf: _is_box(leaf) and leaf.names[:1] == ("layers",), params, is_leaf=_is_box
    )


def part_of(names: Iterable[str]) -> Part:
    """The part of the model that a path or a name stack belongs to, by its names; "other" if no
    pattern matches.
    """
    plain = [name.lower().rstrip("0123456789").rstrip("_") for name in names]
    for part, patterns in PATTERNS.items():
        if any(fnmatchcase(name, pattern) for name in plain for pattern in patterns):
            return part
    return "other"


def _role(path: tuple, leaf: Any) -> Role:
    if isinstance(leaf, Parameter):
        return leaf.role
    names = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
    kind: Kind = "vector"
    if names[-1].endswith("kernel"):
        kind = "kernel"
    elif names[-1] == "embedding":
        kind = "embedding"
    return Role(kind, part_of(names))


def _is_box(node: Any) -> bool:
    return isinstance(node, nn.meta.AxisMetadata)
