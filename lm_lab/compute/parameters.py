"""Parameters by group, from the names on their paths: the one table of which name belongs to which
group.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from math import prod

import jax

from lm_lab.types import PyTree

# A path belongs to the first group one of whose patterns matches one of its segments (a trailing
# _<number> aside). The order settles paths that name two: attention_norm is a norm,
# positions/embedding are positions.
GROUPS: dict[str, tuple[str, ...]] = {
    "norm": ("*norm*",),
    "positions": ("positions", "*_positions", "kinds"),
    "head": ("head", "*_head", "readout", "attend", "pooler"),
    "embedding": ("embed", "*_embed", "embedding", "*_embedding"),
    "attention": ("attention", "*_attention"),
    "recurrent": ("recurrent", "*_recurrent", "*lstm*", "*gru*", "rnn", "state_space", "ssm"),
    "feed_forward": ("feed_forward", "*_feed_forward", "experts", "transform"),
}
OTHER = "other"


def group_of(segments: Iterable[str]) -> str:
    """The group of a path or of a name stack, given its segments; "other" where the table knows
    none of them.
    """
    names = [segment.lower().rstrip("0123456789").rstrip("_") for segment in segments]
    for group, patterns in GROUPS.items():
        if any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
            return group
    return OTHER


def by_group(params: PyTree, experts_per_token: int = 1) -> dict[str, int]:
    """Numbers of parameters of a tree of arrays or ShapeDtypeStructs: each group's, and five sums.

    total          all; the groups sum to it
    active         total less the experts that a token does not pass through
    non_embedding  total without embedding and positions (the N of Kaplan 2020, 2001.08361, with an untied head out)
    matmul         weights that a token meets in a matrix product: the leaves named *kernel (of experts_per_token
                   experts), and the embedding where it is tied (where no kernel is a head's), once,
                   as the head
    matmul_body    matmul without the head
    A lookup takes part in no product, so an embedding that is not tied is in neither matmul.
    """
    groups = dict.fromkeys((*GROUPS, OTHER), 0)
    kernels, idle = dict.fromkeys(groups, 0), 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        # Boxes of linen (axis names beside an array) end a path in "value".
        segments = (
            jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value").split("/")
        )
        size, group = prod(leaf.shape), group_of(segments)
        groups[group] += size
        if segments[-1].endswith("kernel"):
            unmet = (
                size - size * experts_per_token // leaf.shape[-3] if _of_experts(segments) else 0
            )
            kernels[group] += size - unmet
            idle += unmet
    total = sum(prod(leaf.shape) for leaf in jax.tree_util.tree_leaves(params))
    assert sum(groups.values()) == total, "every parameter is in exactly one group"
    body = sum(kernels.values()) - kernels["head"]
    sums = {
        "total": total,
        "active": total - idle,
        "non_embedding": total - groups["embedding"] - groups["positions"],
        "matmul": body + (kernels["head"] or groups["embedding"]),
        "matmul_body": body,
    }
    return sums | groups


def _of_experts(segments: list[str]) -> bool:
    """Whether a kernel's third axis from the end is that of the experts."""
    return "experts" in segments and "router" not in segments
