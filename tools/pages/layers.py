"""The page of layers: the parts of lm_lab from top to bottom, from setup.cfg and the code."""

import ast
import configparser
import importlib
from collections import Counter
from html import escape
from pathlib import Path

import lm_lab
from tools.pages.markdown import code, table, trees

PACKAGE = Path(lm_lab.__path__[0])
OPENING = """# The layers

Imports go down, never up; import-linter holds the code to it (`setup.cfg`), and this page is
drawn from both. Where a usual change has its place is in [extending](../extending.md).

"""
WIDTH, HEIGHT, GAP = 760, 34, 8


def layers() -> list[list[str]]:
    """The parts of each layer, top first, as setup.cfg has them."""
    parser = configparser.ConfigParser()
    parser.read(PACKAGE.parent / "setup.cfg")
    listed = parser["importlinter:contract:layers"]["layers"].split("\n")
    return [[name.strip() for name in line.split("|")] for line in listed if line.strip()]


def page() -> str:
    """The drawing and a table of the parts."""
    imported = imports()
    rows = [
        [code(name), _about(name), _names(imported[name])] for line in layers() for name in line
    ]
    return f"{OPENING}{drawing()}\n\n{table(['part', 'what it is', 'it imports'], rows)}"


def imports() -> dict[str, Counter[str]]:
    """Which part imports which others, in how many places."""
    parts = [name for line in layers() for name in line]
    found: dict[str, Counter[str]] = {name: Counter() for name in parts}
    for file, tree in trees(PACKAGE).items():
        own = _part(".".join(Path(file).with_suffix("").parts), parts)
        for name in _imported(tree):
            other = _part(name, parts)
            if own and other and own != other:
                found[own][other] += 1
    return found


def _imported(tree: ast.Module) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{each.name}" for each in node.names]
    return names


def _part(dotted: str, parts: list[str]) -> str | None:
    return next((name for name in parts if f"{dotted}.".startswith(f"{name}.")), None)


def _about(name: str) -> str:
    text = importlib.import_module(name).__doc__ or ""
    return " ".join(text.split()).split(". ")[0].rstrip(".")


def _names(counted: Counter[str]) -> str:
    return ", ".join(code(name.removeprefix("lm_lab.")) for name, _ in counted.most_common())


def drawing() -> str:
    """The layers as boxes, in a vector drawing that has the colours of the page's text."""
    lines = layers()
    boxes = "".join(_row(line, number * (HEIGHT + GAP)) for number, line in enumerate(lines))
    height = len(lines) * (HEIGHT + GAP)
    return (
        f'<div class="drawing"><svg viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-label="The layers, top first" style="width:100%;font:12px sans-serif" '
        f'fill="none" stroke="currentColor">{boxes}</svg></div>'
    )


def _row(names: list[str], top: int) -> str:
    width = (WIDTH - GAP * (len(names) - 1)) / len(names)
    boxes = []
    for number, name in enumerate(names):
        left, short = number * (width + GAP), escape(name.removeprefix("lm_lab."))
        size = min(13, 1.7 * width / len(short))
        boxes.append(
            f'<rect x="{left + 0.5:.1f}" y="{top + 0.5}" width="{width - 1:.1f}" '
            f'height="{HEIGHT}" rx="5" stroke-opacity=".45"/>'
            f'<text x="{left + width / 2:.1f}" y="{top + HEIGHT / 2 + 4}" text-anchor="middle" '
            f'font-size="{size:.1f}" fill="currentColor" stroke="none">{short}</text>'
        )
    return "".join(boxes)
