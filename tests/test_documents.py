"""The documents: links lead somewhere, code parses, and lm-lab takes every command line."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from lm_lab import config as configs
from lm_lab.cli import arguments
from lm_lab.cli.main import COMMANDS, USAGE
from lm_lab.types import UserError
from tools.pages.__main__ import COPIED

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted(
        [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("experiments/*.md")]
    )
}
EXAMPLE = "configs/decoder_tiny.py"


def test_links_and_named_files_exist():
    missing = [
        f"{page}: {name}"
        for page, text in PAGES.items()
        for name, folder in [
            *((name, (ROOT / page).parent) for name in re.findall(r"\]\(([^)#:]+)\)", text)),
            *(
                (name, ROOT)
                for name in re.findall(r"`((?:docs|lm_lab|tests|tools)/[\w./]+)`", text)
            ),
        ]
        if not any((folder / f"{name}{end}").exists() for end in ("", ".py"))
    ]
    assert missing == []


def test_links_between_pages_lead_to_what_the_site_has():
    """A file of code has no page: it is named, not linked."""
    roots = tuple(ROOT / name for name in COPIED)
    missing = [
        f"{page}: {name}"
        for page, text in PAGES.items()
        for name in re.findall(r"\]\(([^)#:]+)\)", text)
        if not any(((ROOT / page).parent / name).resolve().is_relative_to(r) for r in roots)
    ]
    assert missing == []


def test_links_to_a_heading_lead_to_one():
    missing = [
        f"{page}: {name}#{anchor}"
        for page, text in PAGES.items()
        for name, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text)
        if anchor not in _anchors((ROOT / page).parent / name if name else ROOT / page)
    ]
    assert missing == []


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site name them."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_table_of_contents():
    assert [
        page for page in PAGES if f"({page.removeprefix('docs/')})" not in _contents(page)
    ] == []


def _contents(page: str) -> str:
    """The table of contents with links as they are seen from docs/; it need not list itself."""
    listed = PAGES["docs/README.md"].replace("](../", "](")
    return listed + f"({page.removeprefix('docs/')})" * (page == "docs/README.md")


@pytest.mark.parametrize("page", PAGES)
def test_python_parses(page: str):
    for block in re.findall(r"```python\n(.*?)```", PAGES[page], re.DOTALL):
        ast.parse(block)


def commands() -> Iterator[tuple[str, list[str], str | None]]:
    """(page, words after lm-lab, what is printed) of command lines. The last is None without a
    prompt `$`, and "" where the page shows no error below the prompt.
    """
    for page, text in PAGES.items():
        lines = text.replace("\\\n", " ").split("\n")
        for line, below in zip(lines, [*lines[1:], ""]):
            if found := re.match(r" {4}(\$ )?lm-lab (.*)", line):
                shown = below.strip().partition("lm-lab: ")[2] if found[1] else None
                yield page, shlex.split(found[2], comments=True), shown


def test_every_flag_is_in_the_help_of_its_command():
    unknown = []
    for page, (name, *words), _ in commands():
        if name.startswith(("-", "COMMAND")):
            continue
        assert name in COMMANDS, (page, name)
        told = f"{importlib.import_module(f'lm_lab.cli.{name}').__doc__}{USAGE} --help"
        flags = [re.split(r"[.=]", word)[0] for word in words if word.startswith("--")]
        unknown += [(page, name, flag) for flag in flags if flag not in told]
    assert unknown == []


def test_configs_of_command_lines_are_there_and_give_what_the_page_shows(
    monkeypatch: pytest.MonkeyPatch,
):
    """Lines with a prompt, where `...` stands for an example, and those with the example itself."""
    monkeypatch.chdir(ROOT)
    for page, (_, *words), shown in commands():
        files = [word.partition("=")[2] for word in words if word.startswith("--config=configs/")]
        assert all(Path(file.partition(":")[0]).is_file() for file in files), page
        if shown is None and EXAMPLE not in files:
            continue
        given = [f"--config={EXAMPLE}" if word == "..." else word for word in words]
        error = ""
        try:
            configs.resolve(arguments.take_config(given)[0])
        except UserError as fault:
            error = str(fault)
        assert error == (shown or ""), page
