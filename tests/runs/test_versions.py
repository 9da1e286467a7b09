"""Configs of version 1, as releases before 0.3 stored them, read in this version's words.

tests/releases/version_1.json holds resolved configs of commit 6757da1, by name.
"""

import json
from pathlib import Path

import pytest

from lm_lab.plain import plain
from lm_lab.runs import versions
from lm_lab.schema import build
from lm_lab.train.experiment import Experiment
from lm_lab.train.sections import differences, flat, key_table
from lm_lab.types import UserError
from tests.train.test_sections import classes

STORED = json.loads((Path(__file__).parents[1] / "releases/version_1.json").read_text())
FILE = Path("config.json")


def every_key() -> set[str]:
    """All dotted keys that a config may have, for every option of its choices."""
    return {
        ".".join(part.partition("=")[0] for part in [*name.split("."), field] if part)
        for name, cls in classes("", Experiment)
        for field in [*cls.__dataclass_fields__, "name"]
    }


@pytest.mark.parametrize("name", STORED)
def test_a_stored_config_is_read_whole(name):
    values = versions.read_config(STORED[name], FILE)
    built = json.loads(json.dumps(plain(build(Experiment, values, "config"))))  # refuses the unread
    assert not differences(values, built, key_table(built))  # but for later settings, at defaults


@pytest.mark.parametrize("name", STORED)
def test_what_is_not_kept_was_read_by_nobody(name):
    values = flat(versions.read_config(STORED[name], FILE))
    for key, value in flat(STORED[name]).items():
        moved = versions.new_key(key)
        if moved in values:
            assert values[moved] == value
        else:
            assert any(moved.startswith(f"{choice}.") for choice in versions.READ)


@pytest.mark.parametrize("name", STORED)
def test_reading_is_idempotent(name):
    values = versions.read_config(STORED[name], FILE)
    assert versions.read_config(values, FILE) == values
    assert versions.read_config(versions.stamped(values), FILE) == values


def test_the_tables_lead_to_keys_of_this_version():
    keys = every_key()
    assert not {key for key in versions.MOVED.values() if key not in keys}
    named = {
        f"{choice}.{key}"
        for choice, each in versions.READ.items()
        for key in sum(each.values(), ())
    }
    assert not named - keys


def test_settings_of_outside_packages_go_with_them():
    model = {"family": "mine.model", "rotary_base": 3.0}
    data = {"source": "mine.source", "tokenizer": "words", "least_count": 1, "path": "a", "knob": 2}
    values = versions.read_config({"model": model, "data": data | {"length": 8}}, FILE)
    assert values == {
        "model": model,
        "data": {
            "source": {"name": "mine.source", "path": "a", "knob": 2},
            "tokenizer": {"name": "words", "least_count": 1},
            "length": 8,
        },
    }
    values = versions.read_config(
        {"data": {"source": "stdlib", "tokenizer": "mine.t", "knob": 2}}, FILE
    )
    assert values["data"]["tokenizer"] == {"name": "mine.t", "knob": 2}


def test_a_sweep_is_read_with_its_overrides_and_its_analysis():
    run = {"name": "a", "overrides": {"optimizer.schedule": "wsd"}, "config": STORED["decoder"]}
    analysis = {"kind": "comparison", "arms": {"wsd": {"optimizer.schedule": "wsd"}}}
    record = {"name": "s", "runs": [run], "analysis": analysis, "created": "then"}
    read = versions.read_sweep(record, FILE)
    assert read["runs"][0]["overrides"] == {"schedule.name": "wsd"}
    assert read["runs"][0]["config"] == versions.read_config(STORED["decoder"], FILE)
    assert read["analysis"]["arms"] == {"wsd": {"schedule.name": "wsd"}}
    assert versions.read_sweep(read, FILE) == read


def test_a_later_version_is_refused():
    with pytest.raises(UserError, match=r"config\.json: version 3 is of a later release"):
        versions.read_config({"version": 3, "seed": 0}, FILE)
