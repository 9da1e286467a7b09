"""No adapter: every parameter is trained."""

from dataclasses import dataclass
from typing import Any

import jax
from jax import Array

from lm_lab.contracts import Adapter
from lm_lab.types import AdapterFunctions, PyTree


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


def make(config: Config) -> AdapterFunctions:
    """The adapter that changes nothing."""
    del config
    return AdapterFunctions(_split, _variables, lambda trained, frozen: trained)


def _split(key: Array, params: PyTree) -> tuple[PyTree, PyTree]:
    del key
    return params, ()


def _variables(trained: PyTree, frozen: PyTree, dtype: Any) -> PyTree:
    del frozen
    return {"params": jax.tree.map(lambda x: x.astype(dtype), trained)}


ADAPTER = Adapter(Config, make)
