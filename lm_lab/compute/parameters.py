"""Counts parameters by the part of the model that they belong to."""

from math import prod
from typing import get_args

import jax

from lm_lab.nn.roles import Part, Role, roles
from lm_lab.types import PyTree

GROUPS: tuple[Part, ...] = get_args(Part)


def by_group(params: PyTree, experts_per_token: int = 1) -> dict[str, int]:
    """Numbers of parameters of a tree of arrays or ShapeDtypeStructs: of each group, and five sums.

    total          all; the sum of the groups
    active         total without the experts that a token does not pass through
    non_embedding  total without embedding and positions (the N of Kaplan 2020, 2001.08361, which
                   has no untied head)
    matmul         weights that a token meets in a matrix product: the kernels (of
                   experts_per_token experts), and once, as the head, an embedding that is tied
    matmul_body    matmul without the head

    A group is the part of the model that the parameters' roles name (nn/roles.py), so `params` are
    boxed: without their boxes all experts count as met. A look-up is no product, so an untied
    embedding is in neither matmul sum.
    """
    groups = dict.fromkeys(GROUPS, 0)
    kernels, idle = dict.fromkeys(GROUPS, 0), 0
    role_of_leaf: list[Role] = jax.tree.leaves(roles(params))
    for role, leaf in zip(role_of_leaf, jax.tree.leaves(params), strict=True):
        size = prod(leaf.shape)
        groups[role.part] += size
        if role.is_kernel:
            experts = leaf.shape[-3] if role.kind == "expert_kernels" else experts_per_token
            met = size * experts_per_token // experts
            kernels[role.part] += met
            idle += size - met
    total = sum(groups.values())
    body = sum(kernels.values()) - kernels["head"]
    sums = {
        "total": total,
        "active": total - idle,
        "non_embedding": total - groups["embedding"] - groups["positions"],
        "matmul": body + (kernels["head"] or groups["embedding"]),
        "matmul_body": body,
    }
    return sums | dict(groups)
