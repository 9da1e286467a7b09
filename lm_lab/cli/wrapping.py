"""Long lines of text in a terminal."""

import textwrap
from collections.abc import Iterable

WIDTH = 100  # columns


def wrapped(lines: Iterable[str], indent: int | None = None) -> str:
    """The lines, those of more than WIDTH columns broken between words; what goes on stands behind
    `indent` columns, by default four further right than where its line begins.
    """
    return "\n".join(_wrapped(line, indent) for line in lines)


def paragraph(text: str) -> str:
    """A text of one line, broken between words."""
    return textwrap.fill(text, WIDTH, break_on_hyphens=False, break_long_words=False)


def _wrapped(line: str, indent: int | None) -> str:
    if len(line) <= WIDTH:
        return line
    columns = len(line) - len(line.lstrip()) + 4 if indent is None else indent
    return textwrap.fill(
        line, WIDTH, subsequent_indent=" " * columns, break_on_hyphens=False, break_long_words=False
    )
