"""Rates that carry over from a small model to a wider one (muP, 2203.03466) and to a deeper one
(CompleteP, 2505.01618).

A model with a `base_width` is drawn and trained so that its features move by as much in a step as
those of the model of that width, at the same peak rate and decay. With r = width / base_width:

    parameters                  first drawn with s.d.        rate     decay
    embedding                   base_width^-1/2              1        1
    kernels, experts'           in^-1/2                      1 / r    r
    kernel of the head          (in r)^-1/2                  1 / r    r
    norms, biases, decays       as ever                      1        1

In the standard parametrisation the first and third are width^-1/2 and in^-1/2, and all rates 1. The
decay is multiplied by the rate, so r there leaves their product. The paper writes a multiplier of
the logits, 1 / r; with an optimizer such as Adam it is the same as the third row. Heads should keep
their features (head_dim) as the width grows: scores are divided by the root of these.

With a `base_depth`, branches are drawn as at that depth, multiplied by base_depth / depth before
they enter the stream, and all rates stay.
"""

from dataclasses import replace
from typing import Any

import jax
from jax import Array

from lm_lab.nn.roles import Role
from lm_lab.schema import setting
from lm_lab.types import PyTree, UserError


def base_width_setting() -> Any:
    """The field `base_width`."""
    doc = "width from which rates, decay and initialisation carry over (muP); None: from none"
    return setting(doc, None, low=1)


def base_depth_setting() -> Any:
    """The field `base_depth`."""
    return setting("depth from which rates carry over (CompleteP); None: from none", None, low=1)


def width_ratio(cfg: Any) -> float:
    """r: the width over that from which rates carry over; 1 without one."""
    return 1.0 if cfg.base_width is None else cfg.width / cfg.base_width


def embedding_scale(cfg: Any) -> float:
    """What the s.d. of the embedding at first is multiplied by: its entries are as large as at the
    base width.
    """
    return width_ratio(cfg) ** 0.5


def head_scale(cfg: Any) -> float:
    """What the s.d. of the head's kernel at first is multiplied by."""
    return width_ratio(cfg) ** -0.5


def branch_share(cfg: Any) -> float:
    """What a branch is multiplied by before it enters the stream."""
    return 1.0 if cfg.base_depth is None else cfg.base_depth / cfg.depth


def entering(cfg: Any, branch_BLD: Array) -> Array:
    """A branch [B L D] as it enters the stream."""
    share = branch_share(cfg)
    return branch_BLD if share == 1.0 else share * branch_BLD


def branch_scale(cfg: Any) -> float:
    """What the s.d. of a branch's last kernel at first is multiplied by, where that falls as
    depth^-1/2 for itself: it is that at the base depth.
    """
    return branch_share(cfg) ** -0.5


def check(cfg: Any, **refused: bool) -> None:
    """Raises UserError for a base width with a setting that it does not work with: a tied head, or
    one of those `refused` that are set.
    """
    for name, is_set in {"tied": cfg.tied, **refused}.items():
        if cfg.base_width is not None and is_set:
            words = name.replace("_", " ")
            raise UserError(f"base_width does not work with {words}; leave one out")


def with_shares(roles: PyTree, ratio: float) -> PyTree:
    """The roles, each with the share of the rate that its parameters have at this ratio of
    widths.
    """
    if ratio == 1.0:
        return roles

    def shared(role: Role) -> Role:
        return replace(role, rate=1 / ratio) if role.is_kernel else role

    return jax.tree.map(shared, roles)
