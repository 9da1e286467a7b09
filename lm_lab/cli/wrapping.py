"""Long lines of text in a terminal."""

import textwrap
from collections.abc import Iterable

WIDTH = 100  # columns


def wrapped(lines: Iterable[str]) -> str:
    """The lines, those of more than WIDTH columns broken between words; what goes on stands four
    columns further right than where its line begins.
    """
    return "\n".join(map(_wrapped, lines))


def paragraph(text: str) -> str:
    """A text of one line, broken between words."""
    return textwrap.fill(text, WIDTH, break_on_hyphens=False, break_long_words=False)


def _wrapped(line: str) -> str:
    if len(line) <= WIDTH:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.fill(
        line, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
