"""What the pages share: Markdown, and the code of the package as syntax trees."""

import ast
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path


@cache
def trees(package: Path) -> dict[str, ast.Module]:
    """Every file of a package, by its path from the folder that holds it."""
    files = sorted(package.rglob("*.py"))
    return {str(path.relative_to(package.parent)): ast.parse(path.read_text()) for path in files}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells may hold Markdown."""
    lines = [head, ["---"] * len(head), *([_cell(text) for text in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split()) or " "


def code(text: str) -> str:
    """Text as code within a line."""
    return f"`{text}`" if text else ""


def fenced(text: str, language: str = "text") -> str:
    """Lines of code."""
    return f"```{language}\n{text.strip(chr(10))}\n```\n"


def plain(text: str) -> str:
    """Text of which nothing is read as Markdown."""
    return re.sub(r"[\\`*_\[\]<>$#]", r"\\\g<0>", text)


def with_code(text: str) -> str:
    """Text of which nothing is read as Markdown but what stands as code in it."""
    return re.sub(r"(`[^`]*`)|[*_\[\]<>$#]", lambda found: found[1] or f"\\{found[0]}", text)


def anchor(name: str) -> str:
    """A target for links, from a dotted name."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
