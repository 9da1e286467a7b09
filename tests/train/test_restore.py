"""A model is restored from its run's directory, whatever other files are there."""

import json
from pathlib import Path

import numpy as np
import pytest

from lm_lab.runs.checkpoint import Checkpoints
from lm_lab.train import identity, restore
from lm_lab.types import Inputs, UserError
from tests import tiny


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two checkpoints: zeros at step 1, ones at step 2."""
    experiment, resolved = tiny.resolve()
    identity.write(tmp_path, resolved, identity.claim(tmp_path, resolved))
    params = tiny.params_of(tiny.bound(experiment).model, Inputs(tiny.tokens()))
    with Checkpoints(tmp_path / "checkpoints", 2, identity.name_of(resolved)) as checkpoints:
        for step in (1, 2):
            filled = tiny.jax.tree.map(lambda x, step=step: x * 0 + step - 1, params)
            checkpoints.save(
                step,
                {"params": filled, "opt_state": (filled, None), "step": np.array(step)},
                {},
                None,
            )
    return tmp_path


def test_the_newest_parameters_come_back_with_their_config(run):
    family, config, params = restore.load_params(run)
    assert (family, config) == ("decoder", tiny.resolve()[0].model.settings)
    assert all((leaf == 1).all() for leaf in tiny.jax.tree.leaves(params))


def test_a_damaged_checkpoint_is_passed_over(run):
    manifest = run / "checkpoints/step_00000002/manifest.json"
    manifest.write_text(manifest.read_text().replace("params", "parans"))
    assert all((leaf == 0).all() for leaf in tiny.jax.tree.leaves(restore.load_params(run)[2]))


def test_a_model_alone_comes_back_bit_for_bit(run, tmp_path):
    params = restore.load_params(run)[2]
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "config.json").write_text(json.dumps({"model": restore.read_config(run)["model"]}))
    restore.write_params(alone, params)
    assert tiny.same_bits(restore.load_params(alone)[2], params)


def spoil(run: Path, section: dict) -> None:
    config = restore.read_config(run)
    (run / "config.json").write_text(json.dumps(config | {"model": config["model"] | section}))


@pytest.mark.parametrize(
    "section, message",
    [
        ({"family": "decodr"}, "did you mean 'decoder'"),
        ({"wdth": 3}, r"config.json: config.model.wdth does not exist; did you mean 'width'"),
        (
            {"depth": 3},
            r"step_00000002: parameter layers.\S+ is \[2, .*\] there and \[3, .*\] by config.json",
        ),
        ({"tied": True}, r"parameter head.kernel is \[16, 257\] there and absent by config.json"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(run, section, message):
    spoil(run, section)
    with pytest.raises(UserError, match=message):
        restore.load_params(run)


def test_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"config.json: cannot read: No such file"):
        restore.load_params(tmp_path)
    resolved = tiny.resolve()[1]
    identity.write(tmp_path, resolved, identity.claim(tmp_path, resolved))
    with pytest.raises(UserError, match="no checkpoint there; train the run"):
        restore.load_params(tmp_path)
