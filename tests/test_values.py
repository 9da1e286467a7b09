import doctest
from pathlib import Path

from lm_lab import values


def test_examples_run():
    failed, tried = doctest.testmod(values)
    assert (failed, tried) == (0, 2)


def test_what_may_be_a_name_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    assert values.hub_name(Path("owner/name")) == "owner/name"
    assert values.hub_name(tmp_path / "owner/name") == "owner/name"
    for path in ("runs/a", "runs", "name", "/owner/name", "../name"):
        assert values.hub_name(Path(path)) is None
