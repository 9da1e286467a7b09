"""Two runs are told apart by those values that differ from the defaults and decide the result."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from lm_lab import config as configs
from lm_lab.data import loader
from lm_lab.plain import option_name, plain
from lm_lab.schema import build
from lm_lab.train import optimizer
from lm_lab.train.experiment import Experiment
from lm_lab.train.sections import deciding, differences, flat, key_table, modules, spec
from lm_lab.types import UserError
from tests import tiny

GOLDEN = Path(__file__).parents[1] / "golden/defaults.json"


def classes(name: str, cls: type) -> Iterator[tuple[str, type]]:
    """Every settings class that a config may have, by the section and the
    choices that lead to it.
    """
    yield name, cls
    for field in dataclasses.fields(cls):
        key = f"{name}.{field.name}" if name else field.name
        if "section" in field.metadata:
            yield from classes(key, field.metadata["section"])
        for option in field.metadata.get("options", ()):
            yield from classes(f"{key}={option}", field.metadata["options"][option])
        if "modules" in field.metadata:
            kind = field.metadata["modules"]
            for option in kind.names():
                yield from classes(f"{key}={option}", kind.settings(option, key))


def default(field: dataclasses.Field) -> object:
    if "options" in field.metadata:
        return {"name": option_name(field, field.default), **plain(field.default)}
    if "modules" in field.metadata:
        return field.metadata["default_name"] or "required"
    return "required" if field.default is dataclasses.MISSING else field.default


def defaults() -> dict[str, dict[str, object]]:
    """The defaults of every settings class of a config, required settings as "required"."""
    return {
        name: {f.name: default(f) for f in dataclasses.fields(cls) if "section" not in f.metadata}
        for name, cls in classes("", Experiment)
    }


def test_a_changed_default_is_a_decision():
    """Runs are identified by what differs from the defaults: python -m tests.golden writes the file
    anew.
    """
    assert json.loads(json.dumps(defaults())) == json.loads(GOLDEN.read_text())


def test_every_setting_of_every_choice_says_what_it_is():
    undocumented = [
        f"{name}.{field.name}"
        for name, cls in classes("", Experiment)
        for field in dataclasses.fields(cls)
        if not field.metadata.get("doc")
    ]
    assert not undocumented


LEAST = {"model": {"family": "rnn"}, "objective": {"name": "causal"}, "train": {"steps": 1}}


def unread() -> Iterator[tuple[str, str, str, str]]:
    """(choice, tag, option, key of another option) for every module that a config may name."""
    for path, cls in (("", Experiment), ("data.", loader.Config)):
        for field in dataclasses.fields(cls):
            kind = field.metadata.get("modules")
            names = kind.names() if kind else []
            keys = {
                name: {f.name for f in dataclasses.fields(kind.settings(name, ""))}
                for name in names
            }
            for name in names:
                for other in sorted(set().union(*keys.values()) - keys[name])[:2]:
                    yield f"{path}{field.name}", field.metadata["tag"], name, other


@pytest.mark.parametrize("choice, tag, option, key", list(unread()))
def test_a_setting_that_the_chosen_module_does_not_read_is_an_error(choice, tag, option, key):
    values = configs.override(ConfigDict(LEAST), {choice: {tag: option, key: 1}})
    line = rf"^config\.{choice}\.{key} is read with .*, not with {option}; leave it out$"
    with pytest.raises(UserError, match=line):
        build(Experiment, values.to_dict(), "config")


@pytest.fixture(scope="module")
def resolved():
    return tiny.resolve()[1]


def test_every_key_of_a_resolved_config_is_known_with_its_default(resolved):
    table = key_table(resolved)
    assert set(flat(resolved)) == table.defaults.keys() | {"model.family", "objective.name"}
    assert key_table({}).defaults.keys() < table.defaults.keys()
    assert dict(modules({})) == {
        "data.source.name": "stdlib",
        "data.tokenizer.name": "byte",
        "optimizer.name": "adamw",
        "schedule.name": "cosine",
        "adapter.name": "none",
    }


def test_a_key_that_came_later_is_no_difference_at_its_default(resolved):
    table = key_table(resolved)
    older = {
        **resolved,
        "optimizer": {k: v for k, v in resolved["optimizer"].items() if k != "clip_norm"},
    }
    del older["adapter"]
    assert not differences(older, resolved, table)
    assert spec(older, table) == spec(resolved, table)
    changed = {**resolved, "optimizer": {**resolved["optimizer"], "clip_norm": None}}
    assert [(each.key, each.stored, each.asked) for each in differences(older, changed, table)] == [
        ("optimizer.clip_norm", 1.0, None)
    ]


def test_only_what_differs_from_the_defaults_is_said(resolved):
    said = spec(resolved, key_table(resolved))
    assert said["model.family"] == "decoder"
    assert said["train.steps"] == 8
    assert said["data.source.name"] == "synthetic"
    assert "seed" not in said
    assert "optimizer.clip_norm" not in said
    assert "data.source.concentration" not in said


def test_kernels_the_mesh_and_rhythms_decide_nothing():
    keys = {
        "mesh.data": 2,
        "train.log_every_steps": 3,
        "train.keep_checkpoints": 5,
        "model.attention_kernel": "plain",
    }
    plain, other = tiny.resolve()[1], tiny.resolve(keys)[1]
    table = key_table(plain)
    assert deciding(plain, table) == deciding(other, table)
    assert spec(plain, table) != spec(other, table)


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
    found = differences({"mesh": {"x": stored}}, {"mesh": {"x": asked}}, key_table({}))
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
    settings = {"decay_fraction": 0.25} if schedule == "wsd" else {}
    experiment, _ = tiny.resolve({"schedule": {"name": schedule, **settings}})
    update = optimizer.load(experiment.optimizer, experiment.schedule)
    assert update.same_rates(8, 16, until) == same
