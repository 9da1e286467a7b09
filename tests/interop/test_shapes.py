"""A fresh model of every architecture's preset is written so that transformers loads it; a model
that has none is refused, with the settings that would fit.
"""

import jax
import numpy as np
import pytest

from lm_lab import config as configs
from lm_lab.interop import architectures, folder, nearest
from lm_lab.models import decoder, encoder
from lm_lab.nn.positions import Learned
from lm_lab.train.restore import abstract_params
from lm_lab.train.task import bind
from lm_lab.types import UserError
from tests.interop import parity

MAPPINGS = architectures.mappings()
SMALL = {
    "model.width": 16,
    "model.depth": 2,
    "data.length": 16,
    "data.source": "synthetic",
}


@pytest.mark.torch
@pytest.mark.parametrize("shape", MAPPINGS)
def test_a_model_of_the_preset_is_one_of_transformers(shape, tmp_path):
    transformers = pytest.importorskip("transformers")
    heads = {} if shape == "mamba" else {"model.heads": 2}  # Mamba's layers have none
    config = configs.override(configs.load(f"configs/shapes.py:{shape}"), SMALL | heads)
    experiment = bind(*configs.resolve(config)).experiment
    draw = np.random.default_rng(0)
    shapes = abstract_params(experiment.model.name, experiment.model.settings)
    params = jax.tree.map(lambda leaf: draw.normal(0, 0.1, leaf.shape).astype(np.float32), shapes)
    architecture = MAPPINGS[shape].architectures[0]
    name = folder.save(
        tmp_path / "new", experiment.model.name, experiment.model.settings, params, architecture
    )
    with parity.quiet():
        _, report = getattr(transformers, name).from_pretrained(
            tmp_path / "new", output_loading_info=True
        )
    assert not any(
        report[what]
        for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
    )


@pytest.mark.parametrize(
    "family, config, line",
    [
        (
            "decoder",
            decoder.Config(vocab=9, length=8),
            "LlamaForCausalLM by --config.model.activation=swiglu",
        ),
        (
            "encoder",
            encoder.Config(vocab=9, length=8, norm_position="pre"),
            "--config.model.norm_position=post",
        ),
    ],
)
def test_a_model_that_none_is_names_the_nearest(family, config, line, tmp_path):
    with pytest.raises(
        UserError, match=f"no architecture .* has all settings of config.model; nearest, .*{line}"
    ):
        folder.save(tmp_path / "new", family, config, {})


def test_the_settings_that_are_named_lead_there(tmp_path):
    plain = decoder.Config(vocab=9, length=8, norm="layer", positions=Learned())
    with pytest.raises(
        UserError, match=r"norm_bias False cannot .*; nearest, .* GPT2LMHeadModel by .*bias=all$"
    ):
        folder.save(tmp_path / "new", "decoder", plain, {}, "GPT2LMHeadModel")
    for mapping in architectures.of_family("decoder"):
        found = nearest.changes(mapping, plain)
        assert found is None or found[0] in mapping.architectures
