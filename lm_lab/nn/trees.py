"""Trees of parameters by path."""

from collections.abc import Mapping
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

from lm_lab.types import PyTree


def flatten(tree: PyTree) -> dict[str, Any]:
    """Leaves by path: {"layers/attention/query/kernel": ...}; the boxes of
    logical axes are leaves.
    """
    return flatten_dict(tree, sep="/")


def unflatten(leaves: Mapping[str, Any]) -> PyTree:
    """The tree of the leaves by path: the inverse of `flatten`."""
    return unflatten_dict(dict(leaves), sep="/")


def union(*trees: PyTree) -> PyTree:
    """One tree with the leaves of all trees."""
    return unflatten({path: leaf for tree in trees for path, leaf in flatten(tree).items()})
