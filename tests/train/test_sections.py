"""What tells two runs apart: what differs from the defaults, and decides the result."""

import dataclasses
import json
from pathlib import Path

import pytest

from lm_lab import registry
from lm_lab.train import optimizer
from lm_lab.train.sections import CHOICES, SETTINGS, choice, deciding, differences, known, spec
from tests import tiny

GOLDEN = Path(__file__).parents[1] / "golden/defaults.json"


def defaults() -> dict[str, dict[str, object]]:
    """The defaults of every settings class of a config, required settings as "required"."""
    classes = dict(SETTINGS)
    for section, fields in CHOICES.items():
        for field, kind in fields.items():
            modules = {name: registry.load(kind, name, "") for name in registry.names(kind)}
            classes |= {
                f"{section}.{field}={name}": module.Config for name, module in modules.items()
            }
    required = {dataclasses.MISSING: "required"}
    return {
        name: {
            field.name: required.get(field.default, field.default)
            for field in dataclasses.fields(cls)
        }
        for name, cls in classes.items()
    }


def test_a_changed_default_is_a_decision():
    """Runs are identified by what differs from the defaults: python -m tests.golden writes the file
    anew.
    """
    assert json.loads(json.dumps(defaults())) == json.loads(GOLDEN.read_text())


@pytest.fixture(scope="module")
def resolved():
    return tiny.resolve()[1]


def test_a_key_that_came_later_is_no_difference_at_its_default(resolved):
    about = known(choice(resolved))
    older = {
        **resolved,
        "optimizer": {k: v for k, v in resolved["optimizer"].items() if k != "clip_norm"},
    }
    del older["adapter"]
    assert not differences(older, resolved, about)
    assert spec(older, about) == spec(resolved, about)
    changed = {**resolved, "optimizer": {**resolved["optimizer"], "clip_norm": None}}
    assert [(each.key, each.stored, each.asked) for each in differences(older, changed, about)] == [
        ("optimizer.clip_norm", 1.0, None)
    ]


def test_only_what_differs_from_the_defaults_is_said(resolved):
    said = spec(resolved, known(choice(resolved)))
    assert said["model.family"] == "decoder"
    assert said["train.steps"] == 8
    assert "seed" not in said
    assert "optimizer.clip_norm" not in said


def test_kernels_the_mesh_and_rhythms_decide_nothing():
    keys = {
        "mesh.data": 2,
        "train.log_every_steps": 3,
        "train.keep_checkpoints": 5,
        "model.attention_kernel": "plain",
    }
    plain, other = tiny.resolve()[1], tiny.resolve(keys)[1]
    about = known(choice(plain))
    assert deciding(plain, about) == deciding(other, about)
    assert spec(plain, about) != spec(other, about)


@pytest.mark.parametrize(
    "stored, asked, same",
    [
        (1, 1.0, True),
        (True, 1, False),
        ([1, 2], [1, 2.0], True),
        ([1, 2], [1, 3], False),
        (None, 0, False),
    ],
)
def test_plain_values_are_compared_as_json_reads_them(stored, asked, same):
    found = differences({"model": {"x": stored}}, {"model": {"x": asked}}, known(()))
    assert (not found) == same


@pytest.mark.parametrize(
    "schedule, until, same",
    [
        ("constant", 8, True),
        ("cosine", 1, True),
        ("cosine", 4, False),
        ("wsd", 6, True),
        ("wsd", 8, False),
    ],
)
def test_schedules_have_the_same_rates_until_their_ends_tell(schedule, until, same):
    config = optimizer.Config(schedule=schedule, decay_fraction=0.25)
    assert optimizer.same_rates(config, 8, 16, until) == same
