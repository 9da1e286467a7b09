"""Groups of parameters with a rate and a weight decay of their own."""

from collections.abc import Callable, Hashable, Sequence
from typing import get_args

import jax
import optax
from jax import Array

from lm_lab.nn.paths import chosen, matches
from lm_lab.nn.roles import Kind, Part, Role
from lm_lab.optimizer_contract import ParameterGroup
from lm_lab.schema import suggest
from lm_lab.types import Hyper, PyTree, UserError

Groups = Sequence[tuple[str, ParameterGroup]]  # by label
REST = ""  # the label of parameters that are in no group
BY_WIDTH = ":by_width"  # ends the label of those whose rate depends on the width (nn/transfer.py)


def group_settings(groups: Groups) -> dict[str, float]:
    """The multipliers of the groups, which live in the state, by their names in `Hyper`."""
    return {
        name: value
        for label, group in groups
        for name, value in zip(_names(label), (group.rate, group.decay))
    }


def _names(label: str) -> tuple[str, str]:
    return f"groups.{label}.rate", f"groups.{label}.decay"


def labels_of(groups: Groups, roles: PyTree) -> PyTree:
    """The label of each parameter's group, by its path and its Role.

    Raises UserError for a parameter in two groups, for a group without parameters, and for a
    pattern, part or kind that names nothing, as a misspelt one beside others does.
    """
    _check_words(groups, roles)
    found: set[str] = set()

    def label_of(path: tuple, role: Role) -> str:
        name = name_of(path)
        labels = [label for label, group in groups if _holds(group, name, role)]
        if len(labels) > 1:
            both = " and ".join(f"config.optimizer.groups.{label}" for label in labels)
            raise UserError(f"{both} both hold {name}; narrow one of them")
        found.update(labels)
        return labels[0] if labels else REST

    tree = jax.tree_util.tree_map_with_path(label_of, roles)
    for label, _ in groups:
        if label not in found:
            leaves = jax.tree_util.tree_leaves_with_path(roles)
            paths = [name_of(path) for path, _ in leaves]
            parts = ", ".join(sorted({role.part for _, role in leaves}))
            raise UserError(
                f"config.optimizer.groups.{label} holds no parameters; the trained ones are "
                f"{', '.join(paths)}, of the parts {parts}"
            )
    return tree


def _check_words(groups: Groups, roles: PyTree) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(roles)
    for label, group in groups:
        where = f"config.optimizer.groups.{label}"
        chosen(group.paths, (name_of(path) for path, _ in leaves), f"{where}.paths")
        parts = {*get_args(Part), *(role.part for _, role in leaves)}
        kinds = {*get_args(Kind), *(role.kind for _, role in leaves)}
        for key, words, known in (("parts", group.parts, parts), ("kinds", group.kinds, kinds)):
            for word in words:
                if word not in known:
                    raise UserError(f"{where}.{key}: no {word!r}; {suggest(word, sorted(known))}")


def name_of(path: tuple) -> str:
    """The path of a parameter as patterns match it, as "layers/attention/query/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _holds(group: ParameterGroup, path: str, role: Role) -> bool:
    return (
        (not group.paths or any(matches(pattern, path) for pattern in group.paths))
        and (not group.parts or role.part in group.parts)
        and (not group.kinds or role.kind in group.kinds)
    )


def in_groups(
    groups: Groups,
    roles: PyTree,
    make: Callable[[Hyper, Array | float], optax.GradientTransformation],
    hyper: Hyper,
    rate: Array | float,
) -> optax.GradientTransformation:
    """The optimizer `make(hyper, rate)`, for the parameters of each group at the group's share of
    the rate and of the weight decay, and for roles with a share of the rate at that. Raises
    UserError as `labels_of`.
    """
    by_width = {role.rate for role in jax.tree.leaves(roles)} - {1.0}
    if not groups and not by_width:
        return make(hyper, rate)

    def made(share: Array | float, decay: Array | float) -> optax.GradientTransformation:
        own = hyper
        if "weight_decay" in hyper:
            own = {**hyper, "weight_decay": hyper["weight_decay"] * decay}
        return make(own, rate * share)

    transforms: dict[Hashable, optax.GradientTransformation] = {REST: make(hyper, rate)}
    multipliers = {label: [hyper[name] for name in _names(label)] for label, _ in groups}
    transforms |= {label: made(*each) for label, each in multipliers.items()}
    labels = labels_of(groups, roles)
    for narrow in by_width:  # the decay is multiplied by the rate: their product stays
        for label, (share, decay) in {REST: (1.0, 1.0), **multipliers}.items():
            transforms[label + BY_WIDTH] = made(share * narrow, decay / narrow)
    if by_width:
        labels = jax.tree.map(
            lambda label, role: label if role.rate == 1.0 else label + BY_WIDTH, labels, roles
        )
    return optax.partition(transforms, labels)
