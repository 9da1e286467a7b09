"""The pages of reference, which tools/docs writes from the code, leave nothing out."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import lm_lab
from lm_lab import hints, registry, schema
from lm_lab.cli.choice_table import CHOICES, choice_of
from lm_lab.cli.main import COMMANDS
from lm_lab.train.experiment import Experiment
from lm_lab.types import UserError
from tests.test_house import ROOT, none
from tools.pages import __main__ as site
from tools.pages import commands, errors, examples, keys, layers, names, papers

SECTIONS = {
    "models": ("model", "family"),
    "objectives": ("objective", "name"),
    "optimizers": ("optimizer", "name"),
    "schedules": ("schedule", "name"),
    "adapters": ("adapter", "name"),
}


def sections() -> Iterator[dict]:
    """A config for each option of each choice."""
    for kind, (section, tag) in SECTIONS.items():
        yield from ({section: {tag: name}} for name in registry.names(kind))
    yield from ({"data": {"source": name}} for name in registry.names("data.sources"))
    yield from ({"data": {"tokenizer": name}} for name in registry.names("data.tokenizers"))
    for name in registry.names("evaluation.tasks"):
        yield {"evaluation": {"tasks": {"LABEL": {"name": name}}}}
    for positions in ("rotary", "relative"):
        yield {"model": {"family": "decoder", "positions": positions, "feed_forward": "experts"}}


def test_every_key_is_there_with_its_meaning():
    page = keys.page()
    rows = {
        match[1]: match[2] for match in re.finditer(r"^\| `([\w.]+)` \|(.*)", page, re.MULTILINE)
    }
    every = {key.key for values in sections() for key in schema.keys(Experiment, values)}
    missing = every - set(rows)
    none([f"{key}: not on the page of keys" for key in sorted(missing)])
    meanings = {key: row.split(" | ")[1] for key, row in rows.items() if " | " in row}
    none([f"{key}: no meaning" for key in rows if not re.search(r"\w", meanings.get(key, ""))])
    none([f"{key}: a hint, and no key" for key in hints.NAMES if key not in rows])
    named = " ".join(hints.NAMES.values()).split()
    assert len(named) == len(set(named))


def test_every_key_of_an_analysis_a_searcher_and_an_executor_is_there():
    page = keys.page()
    for name, choice in CHOICES.items():
        for option in registry.names(choice.kind):
            listed = [entry.key for entry in choice_of(f"{name}.{option}") if entry.key]
            none([key for key in listed if f"\n| `{key}` |" not in page])


def test_which_family_reads_a_key_is_what_its_config_says():
    for line in keys.families().splitlines()[4:]:
        key, *marks = [cell.strip(" `") for cell in line.strip("|").split("|")]
        field = key.split(".")[1]
        for family, mark in zip(registry.names("models"), marks, strict=True):
            known = [each.name for each in fields(registry.load("models", family, "").Config)]
            if key.count(".") == 1:
                assert (mark == "yes") == (field in known), (key, family)


def test_every_public_name_and_method_is_there_with_words():
    page = names.page()
    for name in lm_lab.__all__:
        assert f"\n## {name}\n" in page
        if isinstance(value := getattr(lm_lab, name), type):
            none([f"{name}.{m}" for m, held in names.methods(value) if not held.__doc__])
            assert all(f"\n### {name}.{method}\n" in page for method, _ in names.methods(value))
    contracts = [kind.__name__ for _, kind in registry.KINDS.values()]
    assert all(f"\n### {kind}\n" in page for kind in contracts)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_a_command_is_in_its_help(command: str):
    told = commands.help_text(command)
    assert f"## lm-lab {command}\n" in commands.page()
    none([f"--{flag}" for flag in commands.flags(command) if f"--{flag}" not in told])


def test_every_error_is_there_with_its_place():
    page = errors.page()
    found = list(errors.faults())
    kinds = "|".join(kind.__name__ for kind in (UserError, *UserError.__subclasses__()))
    raised = re.compile(rf"^(?!\s*#).*(?<![.\w])({kinds})\((?![\w, ]*\) *->)", re.MULTILINE)
    written = [
        f"{path.relative_to(ROOT)}:{text[: match.end()].count(chr(10)) + 1}"
        for path in sorted(Path(lm_lab.__path__[0]).rglob("*.py"))
        for text in [path.read_text()]
        for match in raised.finditer(text)
        if "class " not in match[0] and ">>>" not in match[0]
    ]
    assert len(written) > 400
    places = {f"{fault.file}:{fault.line}" for fault in found}
    none([place for place in written if place not in places])
    shown = {f"{fault.file}:{fault.line}" for fault in found if errors.is_shown(fault)}
    none([place for place in shown if f"`{place}`" not in page])
    assert len(shown) > 0.95 * len(places)  # the others pass on a line from elsewhere


def test_a_message_is_put_together_as_it_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lm_lab").mkdir()
    (tmp_path / "lm_lab/faults.py").write_text(
        'def f(name):\n    said = "no " + name\n    raise UserError(f"{name}: {said}; give it")\n'
    )
    monkeypatch.setattr(errors, "PACKAGE", tmp_path / "lm_lab")
    (fault,) = errors.faults()
    assert fault == ("…: no …; give it", "lm_lab/faults.py", 3)
    assert (fault.fault, fault.remedy) == ("…: no …", "give it")


def test_every_folder_of_the_package_is_in_a_layer():
    drawn = {name for line in layers.layers() for name in line}
    parts = {f"lm_lab.{path.parent.name}" for path in (ROOT / "lm_lab").glob("*/__init__.py")}
    none([f"{part}: in no layer of setup.cfg" for part in sorted(parts - drawn)])
    page = layers.page()
    assert all(f"| `{name}` |" in page for name in drawn)
    imported = layers.imports()
    assert imported["lm_lab.train"]["lm_lab.engine"] > 3
    assert imported["lm_lab.engine"]["lm_lab.train"] == 0


def test_every_paper_that_code_names_is_in_the_index():
    page = papers.page()
    code = " ".join(path.read_text() for path in (ROOT / "lm_lab").rglob("*.py"))
    named = set(re.findall(r"\b[12]\d[01]\d\.\d{5}\b", code))
    assert len(named) > 50
    none(
        [
            paper
            for paper in sorted(named)
            if f"[{paper}](https://arxiv.org/abs/{paper})" not in page
        ]
    )


def test_every_kind_has_an_example():
    page = examples.page()
    files = {path.name for path in (ROOT / examples.OUTSIDE).glob("[!_]*.py")}
    assert files <= {each.file for each in examples.EXAMPLES}
    ends = [attribute for attribute, _ in registry.KINDS.values()]
    none(
        [name for name in [*ends, "POSITIONS", "ANALYSIS", "MAPPING"] if f"\n{name} = " not in page]
    )


def test_every_page_has_its_place_in_the_navigation():
    listed = {page for pages in site.NAVIGATION.values() for page in pages}
    written = {f"docs/reference/{name}" for name in site.REFERENCE}
    for folder in ("docs", "experiments"):
        written |= {f"{folder}/{path.stem}" for path in (ROOT / folder).glob("*.md")}
    none(sorted(written - listed - {"docs/README"}))
