"""Some parameters are trained and the rest are frozen; with the head alone it is the linear
probe.
"""

from dataclasses import dataclass
from typing import Any

import jax
from jax import Array

from lm_lab.contracts import Adapter
from lm_lab.nn.paths import chosen
from lm_lab.nn.trees import flatten, unflatten, union
from lm_lab.schema import setting
from lm_lab.types import AdapterFunctions, PyTree, UserError


@dataclass(frozen=True)
class Config:
    """The fields of a config's adapter section."""

    train: tuple[str, ...] = setting("patterns of the paths of what is trained", ("*head",))

    def __post_init__(self) -> None:
        """Raises UserError where nothing would be trained."""
        if not self.train:
            raise UserError(
                "train names no parameters, and nothing would be trained; name some, as in "
                "['*head']"
            )


def make(config: Config) -> AdapterFunctions:
    """The adapter that trains what the patterns match."""

    def split(key: Array, params: PyTree) -> tuple[PyTree, PyTree]:
        del key
        leaves = flatten(params)
        trained = chosen(config.train, leaves, "config.adapter.train")
        frozen = {path: leaf for path, leaf in leaves.items() if path not in trained}
        return unflatten({path: leaves[path] for path in trained}), unflatten(frozen)

    return AdapterFunctions(split, _variables, union)


def _variables(trained: PyTree, frozen: PyTree, dtype: Any) -> PyTree:
    return {"params": jax.tree.map(lambda x: x.astype(dtype), union(trained, frozen))}


ADAPTER = Adapter(Config, make)
