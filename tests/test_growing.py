"""What the README promises: an architecture and an objective are one file each, in a package of one's own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lm_lab.train import loop
from lm_lab.train.member import Run
from tests import tiny

FAMILY = '''
"""A bag of the last words: their mean, through one layer."""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from lm_lab.nn.linear import Embedding, Linear
from lm_lab.schema import setting


@dataclass(frozen=True)
class Config:
    """A width."""

    width: int = setting("features", 16, low=1)
    vocab: int | None = setting("rows of the embedding; None: the tokenizer's", None)
    sees: ClassVar[str] = "past"
    reads_context: ClassVar[bool] = False


class Model(nn.Module):
    """Running means of embeddings."""

    cfg: Config

    def setup(self):
        self.embed = Embedding(self.cfg.vocab, self.cfg.width)
        self.mix = Linear(self.cfg.width, "expand")
        self.head = Linear(self.cfg.vocab, "readout")

    def features(self, inputs):
        x = self.embed(inputs.tokens)
        return nn.tanh(self.mix(jnp.cumsum(x, 1) / jnp.arange(1, x.shape[1] + 1)[:, None] + x))

    def readout(self, x):
        return self.head(x).astype(jnp.float32)

    def __call__(self, inputs):
        return self.readout(self.features(inputs))
'''
OBJECTIVE = '''
"""Next-token prediction of every other token."""

import jax.numpy as jnp

from lm_lab.objectives import causal
from lm_lab.objectives.causal import SEES, Config, window
from lm_lab.types import Objective


def make(config, length, vocabulary):
    whole = causal.make(config, length, vocabulary)

    def prepare(key, examples):
        batch = whole.prepare(key, examples)
        return batch._replace(weights=batch.weights * (jnp.arange(length) % 2))

    return Objective(prepare, whole.loss)
'''


@pytest.fixture
def research(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of the user's own, with one file each."""
    folder = tmp_path / "my_research"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "bag.py").write_text(FAMILY)
    (folder / "halved.py").write_text(OBJECTIVE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_research"
    for name in [name for name in sys.modules if name.startswith("my_research")]:
        del sys.modules[name]


def test_a_file_is_a_family_and_trains(research, tmp_path):
    changes = {"model": {"family": f"{research}.bag", "width": 8}, "objective": {"name": f"{research}.halved"}}
    experiment, resolved = tiny.resolve(changes | {"train.steps": 40, "optimizer.peak_rate": 0.03})
    (result,) = loop.train([Run(experiment, resolved, tmp_path / "run")])
    assert result["status"] == "complete"
    assert result["params"]["total"] == 2 * 257 * 8 + 8 * 8
    # A Markov chain of four symbols: knowing the last byte leaves at most two bits, a uniform guess is log 257 = 5.5.
    assert result["final"]["eval/heldout/nll"] < 3
    products = 2 * 3 * (8 * 8 + 8 * 257)  # forward, and both gradients, of the two kernels
    assert result["flops_per_token"]["counted"] == products
