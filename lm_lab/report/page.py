"""The parts of a report, and how they become one self-contained page.

All text is escaped here, and only here.
"""

import base64
import html
import json
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from matplotlib.figure import Figure as Drawing

from lm_lab.report import marks, style
from lm_lab.runs import durable

_LINK = re.compile(r'<a href="figures/([\w-]+\.(?:svg|png|pdf|csv))">')
_LONG = 34  # characters in a table cell above which its text wraps
_LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "−0123456789")


@dataclass(frozen=True)
class Figure:
    """A figure to draw, saved as figures/<name>.png, .svg, .pdf, and .csv of its numbers.

    Screen readers read `alt`.
    """

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Drawing]


@dataclass(frozen=True)
class Number:
    """A table cell that shows `text` and sorts by `value`."""

    text: str
    value: float


Cell = str | Number | None


@dataclass(frozen=True)
class Table:
    """A table. Columns of Numbers (or None) are right-aligned; `quiet` rows are drawn paler."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    sortable: bool = False
    quiet: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Notice:
    """A warning, or, if `bad`, a question without an answer."""

    title: str
    message: str
    bad: bool = False


@dataclass(frozen=True)
class Terms:
    """Terms and their meanings."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Preformatted text."""

    text: str


Block = str | Figure | Table | Notice | Terms | Code


@dataclass(frozen=True)
class Section:
    """A heading and the blocks below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Headline:
    """A key number of the answer, with its meaning and its uncertainty."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class About:
    """The settings and command of a run, which a reader sees at its points."""

    settings: str
    command: str


@dataclass(frozen=True)
class Report:
    """The results of an analysis as prose, key numbers, and sections with the evidence."""

    answer: Sequence[str]
    headlines: Sequence[Headline] = ()
    sections: Sequence[Section] = field(default_factory=list)


def render(
    name: str,
    question: str,
    facts: Sequence[tuple[str, str]],
    report: Report,
    folder: Path,
    runs: Mapping[str, About] = MappingProxyType({}),
    *,
    kicker: str = "Study report",
    refresh: float | None = None,
) -> str:
    """Renders the page; figures are saved into `folder` and embedded as SVG.

    `runs` says what is shown of the runs that points are made of, by name. A browser loads the page
    again after `refresh` seconds.
    """
    parts = [f'<p class="kicker">{escape(kicker)}</p>\n<h1 dir="auto">{escape(name)}</h1>']
    parts.append(f'<p class="question" dir="auto">{escape(question)}</p>')
    parts.append(_answer(report))
    items = "".join(f"<li><b>{escape(value)}</b> {escape(label)}</li>" for label, value in facts)
    parts.append(f'<ul class="facts">{items}</ul>')
    counter = iter(range(1, 1000))
    for section in report.sections:
        blocks = "\n".join(_block(block, counter, folder) for block in section.blocks)
        parts.append(f"<section><h2>{escape(section.title)}</h2>\n{blocks}</section>")
    abouts = {run: [about.settings, about.command] for run, about in runs.items()}
    parts.append(f'<script type="application/json" id="runs">{_data(abouts)}</script>')
    template = string.Template(
        resources.files("lm_lab.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    head = "" if refresh is None else f'<meta http-equiv="refresh" content="{refresh:g}">'
    return template.substitute(title=escape(name), head=head, body="\n".join(parts))


def remove_stale(path: Path, page: str) -> None:
    """Removes the files of figures that the report at `path` links to and the new `page` does not;
    other files in the folder stay.
    """
    if path.is_file():
        linked = _LINK.findall(path.read_text(encoding="utf-8", errors="replace"))
        for name in set(linked) - set(_LINK.findall(page)):
            (path.parent / "figures" / name).unlink(missing_ok=True)


def _answer(report: Report) -> str:
    """The answer with its key numbers: what the page opens with."""
    answer = "\n".join(f"<p>{escape(sentence)}</p>" for sentence in report.answer)
    shown = f'<section class="answer"><h2>Answer</h2>\n{answer}</section>'
    cells = "\n".join(
        f"<div><dt>{escape(headline.label)}</dt><dd>{escape(headline.value)}"
        f"<span>{escape(headline.note)}</span></dd></div>"
        for headline in report.headlines
    )
    return shown + (f'\n<dl class="numbers">{cells}</dl>' if cells else "")


def _data(value: Any) -> str:
    """JSON that a script element may hold: no markup can begin or end in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def escape(words: Any) -> str:
    """Plain text as HTML, with raised exponents in C^0.55, N^−α and 10¹¹."""
    raised = re.sub(r"\^(−?(?:\d+(?:\.\d+)?|[abαβ]\b))", r"<sup>\1</sup>", html.escape(str(words)))
    return re.sub(
        r"[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda match: f"<sup>{match[0].translate(_LOWERED)}</sup>", raised
    )


def _block(block: Block, counter: Any, folder: Path) -> str:
    match block:
        case str():
            return f"<p>{escape(block)}</p>"
        case Figure():
            return _figure(block, next(counter), folder)
        case Table():
            return _table(block)
        case Notice():
            kind = "notice bad" if block.bad else "notice"
            return (
                f'<div class="{kind}"><p><b>{escape(block.title)}.</b> '
                f"{escape(block.message)}</p></div>"
            )
        case Terms():
            pairs = "\n".join(
                f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>"
                for term, meaning in block.pairs
            )
            return f'<dl class="terms">{pairs}</dl>'
        case Code():
            return f"<pre>{html.escape(block.text)}</pre>"


def _figure(figure: Figure, number: int, folder: Path) -> str:
    """The figure as an embedded image, so that the ids of two SVGs cannot clash.

    Points to point at are stored beside it as data, their places as shares of the image.
    """
    with style.applied():
        drawing = figure.draw()
        svg = base64.b64encode(style.save(drawing, folder, figure.name)).decode()
        hits, table = marks.hits(drawing), marks.table(drawing)
    kinds = ["svg", "png", "pdf"]
    if table is not None:
        folder.mkdir(parents=True, exist_ok=True)
        durable.replace(folder / f"{figure.name}.csv", table.encode())
        kinds.append("csv")
    width = round(96 * drawing.get_figwidth() * 1.12)
    image = (
        f'<img src="data:image/svg+xml;base64,{svg}" alt="{escape(figure.alt)}" width="{width}">'
    )
    if hits:
        image += f'<script type="application/json">{_data(hits)}</script>'
    caption = f"<b>Figure {number}. {escape(figure.title)}.</b> {escape(figure.caption)}"
    links = " · ".join(
        f'<a href="figures/{figure.name}.{kind}">{kind.upper()}</a>' for kind in kinds
    )
    focus = ' tabindex="0"' if hits else ""
    plot = f'<div class="plot" style="--width: {width}px"{focus}>{image}</div>'
    return (
        f'<figure id="{figure.name}"><div class="sheet">{plot}</div>'
        f'<figcaption>{caption} <span class="files">{links}</span></figcaption></figure>'
    )


def _table(table: Table) -> str:
    columns = range(len(table.header))
    numeric = [
        all(isinstance(row[column], Number | None) for row in table.rows) for column in columns
    ]
    heads = "".join(
        _head(title, numeric[column], table.sortable) for column, title in enumerate(table.header)
    )
    lines = []
    for place, row in enumerate(table.rows):
        cells = "".join(_cell(cell, numeric[column]) for column, cell in enumerate(row))
        lines.append(f"<tr{_class('muted', place in table.quiet)}>{cells}</tr>")
    body = "\n".join(lines)
    head = f"<thead><tr>{heads}</tr></thead>"
    element = f"<table{_class('sortable', table.sortable)}>{head}\n<tbody>{body}</tbody></table>"
    shown = f'<div class="table" tabindex="0">{element}</div>'
    return shown + (f'<p class="hint">{escape(table.caption)}</p>' if table.caption else "")


def _head(title: str, numeric: bool, sortable: bool) -> str:
    heading = f"<button>{escape(title)}</button>" if sortable else escape(title)
    return f'<th scope="col"{_class("number", numeric)}>{heading}</th>'


def _cell(cell: Cell, numeric: bool) -> str:
    kind = _class("number", numeric)
    if cell is None:
        return f'<td{kind} data-value="">–</td>'
    if isinstance(cell, Number):
        return f'<td{kind} data-value="{cell.value!r}">{escape(cell.text)}</td>'
    return (
        f"<td{_class('words', len(cell) > _LONG)} "
        f'data-value="{html.escape(cell)}">{escape(cell)}</td>'
    )


def _class(name: str, applies: bool) -> str:
    return f' class="{name}"' if applies else ""
