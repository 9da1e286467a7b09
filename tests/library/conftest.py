"""One tiny run and one tiny sweep, which all examples of the library share."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import lm_lab
from lm_lab.sweeps.algebra import param
from tests import tiny

SMALL = {
    "train.steps": 20,
    "train.log_every_steps": 10,
    "train.eval_every_steps": 10,
    "train.checkpoint_every_steps": 20,
    "train.steps_per_call": 10,
}


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run in runs/tiny, and a sweep of two in runs/rates."""
    folder = tmp_path_factory.mktemp("library")
    lm_lab.train_run(tiny.RUN, folder / "runs/tiny", SMALL)
    study = lm_lab.Study(
        name="rates",
        question="Which peak rate is best?",
        base=lm_lab.load_config(tiny.RUN, SMALL),
        sweep=param("optimizer.peak_rate", [0.01, 0.02]),
        analysis={"kind": "isoflop"},
    )
    lm_lab.run_study(study, folder / "runs/rates", executor="here")
    return folder


@pytest.fixture
def names(place: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What examples may use without saying so; they run in `place`, and may keep files there."""
    monkeypatch.chdir(place)
    config = lm_lab.load_config(tiny.RUN, SMALL)
    return {"lm_lab": lm_lab, "jax": jax, "jnp": jnp, "optax": optax, "tiny": config.to_dict()}
