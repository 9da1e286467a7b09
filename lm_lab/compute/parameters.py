"""Counts parameters by group; the table here says which names on a path belong to which group."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from math import prod

import jax

from lm_lab.types import PyTree

# A path belongs to the first group with a pattern that matches one of its segments (without a
# trailing _<number>). The order decides for paths that match two: attention_norm is a norm,
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
    """The group of a path or a name stack, given its segments; "other" if no pattern matches."""
    names = [segment.lower().rstrip("0123456789").rstrip("_") for segment in segments]
    for group, patterns in GROUPS.items():
        if any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
            return group
    return OTHER


def by_group(params: PyTree, experts_per_token: int = 1) -> dict[str, int]:
    """Numbers of parameters of a tree of arrays or ShapeDtypeStructs: of each group, and five sums.

    total          all; the sum of the groups
    active         total without the experts that a token does not pass through
    non_embedding  total without embedding and positions (the N of Kaplan 2020, 2001.08361, which
                   has no untied head)
    matmul         weights that a token meets in a matrix product: the leaves named *kernel (of
                   experts_per_token experts), and once, as the head, an embedding that is tied
    matmul_body    matmul without the head

    A look-up is no product, so an untied embedding is in neither matmul sum.
    """
    groups = dict.fromkeys((*GROUPS, OTHER), 0)
    kernels, idle = dict.fromkeys(groups, 0), 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        # Linen boxes (arrays with axis names) end a path in "value".
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
    """Whether the third axis from the end of a kernel counts experts."""
    return "experts" in segments and "router" not in segments
