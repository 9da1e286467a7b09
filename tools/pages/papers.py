"""The index of papers: from an arXiv id or a DOI to the files and pages that name it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.pages.markdown import code, plain, table

ROOT = Path(__file__).parents[2]
FOLDERS = ("lm_lab", "configs", "experiments")
ARXIV = re.compile(r"(?<![\d.])((?:0[7-9]|1\d|2\d)(?:0[1-9]|1[0-2])\.\d{4,5})(?!\d)")
DOI = re.compile(r"\b(10\.\d{4,}/[\w.-]*\w)")
OPENING = """# Papers

What each paper is to lm_lab is said where it is named: a paper's id leads to the files of code,
configs and studies.

"""


def page() -> str:
    """The page, newest papers first."""
    rows = [
        [_link(paper), " <br> ".join(_place(*place) for place in places)]
        for paper, places in sorted(index().items(), key=_newest)
    ]
    return OPENING + table(["paper", "where, and as what"], rows)


def _newest(item: tuple[str, Any]) -> tuple[bool, int, str]:
    """The order: arXiv ids from the newest, then DOIs."""
    paper = item[0]
    is_doi = paper.startswith("10.")
    return is_doi, 0 if is_doi else -int(paper.replace(".", "").ljust(9, "0")), paper


def _place(file: str, text: str) -> str:
    return f"{code(file)}: {plain(text)}" if text else code(file)


def index() -> dict[str, list[tuple[str, str]]]:
    """paper -> [(file, the sentence of a docstring or comment that names it, or nothing)]."""
    found: dict[str, dict[str, str]] = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text, name = path.read_text(), str(path.relative_to(ROOT))
            named = dict.fromkeys([*ARXIV.findall(text), *DOI.findall(text)])
            sentences = list(_sentences(text)) if named else []
            for paper in named:
                said = next((sentence for sentence in sentences if paper in sentence), "")
                found.setdefault(paper, {})[name] = said
    return {paper: list(places.items()) for paper, places in found.items()}


def _link(paper: str) -> str:
    host = "https://doi.org" if paper.startswith("10.") else "https://arxiv.org/abs"
    return f"[{paper}]({host}/{paper})"


def _sentences(source: str) -> Iterator[str]:
    """The sentences of the docstrings and of the comments of a file, each in one line."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    texts = [ast.get_docstring(node) or "" for node in nodes]
    texts += re.findall(r"(?<=# ).*", source)
    for text in texts:
        yield from re.split(r"(?<=[.;]) ", " ".join(text.split()))
