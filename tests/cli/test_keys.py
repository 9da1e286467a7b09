"""`lm-lab keys`: every setting that a config can have is listed, in lines that fit."""

import pytest

from lm_lab import registry
from lm_lab.cli import key_table, keys
from lm_lab.train.sections import flat
from lm_lab.types import UserError
from tests import tiny


def test_every_key_of_a_resolved_config_is_listed():
    listed = {entry.key for entry in key_table.entries(deep=True)}
    assert set(flat(tiny.resolve()[1])) <= listed


def test_what_is_found_stands_once_below_the_choice_that_reads_it():
    found = key_table.matching(key_table.entries(deep=True), "groups.LABEL.rate")
    assert [entry.key for entry in found] == ["", "optimizer.groups.LABEL.rate"]
    found = key_table.matching(key_table.entries(deep=True), "beta2")
    headings = [entry.text.partition(":")[0] for entry in found if not entry.key]
    assert headings[:2] == ["optimizer.name=adamw", "optimizer.name=ademamix"]
    heading, norms = key_table.matching(key_table.entries(deep=True), "train.norms")
    assert (heading.text[:6], norms.key) == ("train:", "train.norms")


def test_lines_fit():
    lines = key_table.render(key_table.entries(deep=True))
    assert max(map(len, lines)) <= key_table.COLUMNS


def test_a_key_has_its_default_meaning_type_and_range(capsys):
    assert keys.run(["optimizer.lion"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "optimizer.name=lion: Lion" in printed
    assert "optimizer.beta1 = 0.9 share of the momentum" in printed
    assert "(number, 0 to 0.9999999)" in printed


def test_words_are_found_under_what_reads_them(capsys):
    keys.run(["--grep=warm-up"])
    printed = capsys.readouterr().out
    assert "optimizer.peak_rate" in printed
    assert "optimizer.name=lion" in printed
    assert "model" not in printed


def test_the_keys_of_an_analysis_are_those_of_its_settings(capsys):
    assert keys.run(["analysis.comparison"]) == 0
    assert "analysis.reference = (required)" in capsys.readouterr().out
    assert keys.run(["analysis"]) == 0
    printed = capsys.readouterr().out
    assert all(f"analysis.{name}: " in printed for name in registry.names("report.analyses"))


@pytest.mark.parametrize(
    "words, says",
    [
        (["modle"], "config.modle does not exist; did you mean 'model'"),
        (["model.decodr"], "no models named 'decodr'; did you mean 'decoder'"),
        (["data.lenth"], "config.data.lenth does not exist; did you mean 'length'"),
        (["analysis.curvse"], "no report.analyses named 'curvse'; did you mean 'curves'"),
        (["--grep=zebra"], "no key has that word"),
        (["model", "data"], "name one section"),
    ],
)
def test_what_does_not_exist_is_said(words, says):
    with pytest.raises(UserError, match=says):
        keys.run(words)
