"""`lm-lab check`: a module that keeps the laws of its kind passes, and for one that breaks a law a
line says which.

Modules that break one are those of my_lab with a line changed.
"""

from pathlib import Path

import pytest

from lm_lab.cli import check
from lm_lab.types import UserError

OUTSIDE = Path(__file__).parents[1] / "outside"
# name -> (module of my_lab, its text, the text in its place, the line that is printed)
BROKEN = {
    "ignores_segments": (
        "bag",
        "if segments is None else segments",
        "",
        "FAILED  documents: token 0 of document 2 changes with document 1",
    ),
    "looks_ahead": (
        "bag",
        "sums[:, 1:] - ",
        "sums[:, -1:] - ",
        "FAILED  causality: token 0 changes with token ",
    ),
    "returns_a_mean": (
        "halved",
        "ObjectiveFunctions(prepare, causal.loss)",
        "ObjectiveFunctions(prepare, lambda logits, batch: {**causal.loss(logits, batch), "
        '"nll": causal.loss(logits, batch)["nll"] / batch.weights.sum()})',
        "FAILED  sums: nll of four rows is",
    ),
    "loses_a_byte": (
        "letters",
        "byte.encode(text.lower())",
        "byte.encode(text.lower())[:-1]",
        "FAILED  round_trip: ",
    ),
    "reads_its_config": (
        "momentum",
        'hyper["momentum"]',
        "config.momentum",
        "FAILED  traced: momentum is read in the config; read hyper['momentum']",
    ),
    "rises_above_the_peak": (
        "inverse_root",
        "warmed(config, step, steps, ",
        "2 * warmed(config, step, steps, ",
        "FAILED  share: the factor at step 0 of 1 is 2",
    ),
}


@pytest.fixture(autouse=True)
def outside(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)


def test_outside_modules_that_keep_the_laws_pass(capsys):
    names = ("bag", "halved", "letters", "momentum", "inverse_root", "eight_bits")
    code = check.run([f"my_lab.{name}" for name in names])
    printed = capsys.readouterr().out
    assert "FAILED" not in printed
    assert code == 0
    assert "models my_lab.bag\n  ok      contract: It is a Family" in printed
    assert "ok      documents: Documents of one row do not see each other" in printed
    assert "ok      sums: " in printed


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_law_is_one_line_that_says_what_was_found(name, tmp_path, capsys):
    module, right, wrong, line = BROKEN[name]
    text = (OUTSIDE / "my_lab" / f"{module}.py").read_text()
    assert text.count(right) == 1
    (tmp_path / f"broken_{name}.py").write_text(text.replace(right, wrong))
    assert check.run([f"broken_{name}:{_value(text)}"]) == 1
    found = [each for each in capsys.readouterr().out.splitlines() if "FAILED" in each]
    assert any(line in each for each in found), found


def _value(text):
    """The name of the value that a module ends in."""
    return text.splitlines()[-1].partition(" ")[0] if text.splitlines()[-1] != ")" else "OBJECTIVE"


def test_a_built_in_module_is_named_with_its_kind_and_takes_settings(capsys):
    assert check.run(["data.sources.synthetic", "--settings.documents=7"]) == 0
    assert "ok      repeatable: The same documents" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, says",
    [
        ([], "name modules, as in"),
        (["decoder"], "say the kind too"),
        (["schedules.my_research.late"], "leave out the kind, as in lm-lab check my_research.late"),
        (["models.decodr"], "no models named 'decodr'; did you mean 'decoder'"),
        (["my_lab.nothing"], "cannot import 'my_lab.nothing'"),
        (["lm_lab.types"], "'lm_lab.types' has none of FAMILY, OBJECTIVE"),
        (["data.sources.text"], "settings.path is missing"),
        (["models.rnn", "--settings.cel=gru"], "settings.cel does not exist; did you mean 'cell'"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(words, says):
    with pytest.raises(UserError, match=says):
        check.run(words)
