import dataclasses
import sys
from types import ModuleType

import pytest

from lm_lab.models import decoder
from lm_lab.registry import load, names
from lm_lab.types import UserError

KINDS = (
    "models",
    "objectives",
    "adapters",
    "data.sources",
    "data.tokenizers",
    "optimizers",
    "schedules",
    "sweeps.executors",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_a_kind_is_found_by_its_name_and_brings_its_settings(kind):
    assert names(kind)
    for name in names(kind):
        settings = load(kind, name, "config.x").Config
        assert all(field.metadata.get("doc") for field in dataclasses.fields(settings)), name


def test_a_model_of_an_outside_package_is_found_by_its_path(monkeypatch):
    outside = ModuleType("their_package.models")
    outside.FAMILY = decoder.FAMILY
    monkeypatch.setitem(sys.modules, "their_package", ModuleType("their_package"))
    monkeypatch.setitem(sys.modules, "their_package.models", outside)
    assert load("models", "their_package.models", "config.model.family") is decoder.FAMILY


@pytest.mark.parametrize(
    "name, message",
    [
        ("decodr", "config.model.family: no models named 'decodr'; did you mean 'decoder'?"),
        ("", "config.model.family: no models named ''; known: "),
        (
            "nowhere.models",
            "config.model.family: cannot import 'nowhere.models' (No module named 'nowhere')",
        ),
        (".decoder", "config.model.family: cannot import '.decoder'"),
        (
            "os.path",
            "config.model.family: 'posixpath' has no FAMILY = Family(...); write it like those of "
            "lm_lab.models",
        ),
    ],
)
def test_a_name_without_a_module_is_one_line(name, message):
    with pytest.raises(UserError) as caught:
        load("models", name, "config.model.family")
    assert str(caught.value).startswith(message)
