"""Records the numbers of a figure while they are drawn, for its table and for pointing at points.

A drawing calls `points` and `curve` in place of `axes.plot` for everything that is data. What they
draw goes into figures/<name>.csv, and the points can be pointed at in the report.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm_lab.report import style
from lm_lab.scaling.records import Band, Estimate

HEADER = ("panel", "across", "up", "series", "x", "y", "low", "high", "runs", "note")


class Hit(NamedTuple):
    """A point that a reader can point at: its place as shares of the figure's width and height from
    the top left, its text, and the names of its runs.
    """

    x: float
    y: float
    words: str
    runs: tuple[str, ...]


def points(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    series: str,
    *,
    words: Sequence[str] = (),
    runs: Sequence[Sequence[str]] = (),
    **look: Any,
) -> None:
    """Draws points (x, y) and records them as `series`; `words` and `runs` are the text and the
    runs of each point.
    """
    axes.plot(x, y, **{"linestyle": "none", "marker": "o", **look})
    for place, (x_value, y_value) in enumerate(zip(x, y)):
        note = words[place] if words else ""
        names = tuple(runs[place]) if runs else ()
        _record(axes, style.Mark(series, x_value, y_value, None, None, note, names, True))


def estimates(
    axes: Axes,
    places: Sequence[float],
    values: Sequence[Estimate],
    series: str,
    *,
    along: Literal["x", "y"] = "y",
    words: Sequence[str] = (),
    runs: Sequence[Sequence[str]] = (),
    cap: float = 2.5,
    within: tuple[float, float] = (-math.inf, math.inf),
    **look: Any,
) -> None:
    """Draws estimates at `places` of the other axis, with their intervals as capped bars, arrows
    where these leave the limits `within`; `words` and `runs` say what each is.
    """
    for place, (other, value) in enumerate(zip(places, values)):
        style.bar(axes, value, other, look["color"], along=along, cap=cap, within=within)
        x, y = (value.value, other) if along == "x" else (other, value.value)
        note, names = words[place] if words else "", tuple(runs[place]) if runs else ()
        _record(axes, style.Mark(series, x, y, value.low, value.high, note, names, True))
        axes.plot(x, y, **{"linestyle": "none", "marker": "D", **look})


def curve(axes: Axes, x: Iterable[float], y: Iterable[float], series: str, **look: Any) -> None:
    """Draws a line and records its corners as `series`."""
    x, y = list(x), list(y)
    axes.plot(x, y, **look)
    for across, up in zip(x, y):
        _record(axes, style.Mark(series, float(across), float(up)))


def band(
    axes: Axes, values: Band, series: str, colour: str, *, outlined: bool = False, **look: Any
) -> None:
    """Draws a curve over compute with its interval: a pale ribbon, or `outlined`, which stays
    readable over another's ribbon.
    """
    axes.plot(values.flops, values.value, color=colour, **look)
    (style.outline if outlined else style.ribbon)(axes, values, colour)
    for flops, value, low, high in zip(values.flops, values.value, values.low, values.high):
        _record(axes, style.Mark(series, flops, value, low, high))


def hits(figure: Figure) -> list[Hit]:
    """The points of a drawn figure that a reader can point at, in the order of drawing."""
    targets = []
    for axes, mark in _recorded(figure):
        place = _place(figure, axes, mark)
        if mark.is_point and place is not None and (mark.words or mark.runs):
            targets.append(Hit(*place, mark.words, mark.runs))
    return targets


def table(figure: Figure) -> str | None:
    """The drawn numbers as CSV, a row a number, with HEADER; None where there is none.

    Of a figure that was drawn without this module, the corners of its lines.
    """
    recorded = list(_recorded(figure)) or list(_lines(figure))
    if not recorded:
        return None
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for axes, mark in recorded:
        numbers = [_number(value) for value in (mark.x, mark.y, mark.low, mark.high)]
        names = [_plain(words) for words in _names(figure, axes)]
        writer.writerow([*names, mark.series, *numbers, " ".join(mark.runs), mark.words])
    return text.getvalue()


def _record(axes: Axes, mark: style.Mark) -> None:
    if isinstance(axes.figure, style.ShownFigure):
        axes.figure.marks.append((axes, mark))


def _recorded(figure: Figure) -> Iterator[tuple[Axes, style.Mark]]:
    return iter(figure.marks if isinstance(figure, style.ShownFigure) else ())


def _lines(figure: Figure) -> Iterator[tuple[Axes, style.Mark]]:
    """The corners of all lines of data, by label (those without one, by number)."""
    for axes in figure.axes:
        for number, line in enumerate(axes.lines, 1):
            label = str(line.get_label())
            series = f"line {number}" if label.startswith("_") else label
            if line.get_transform() == axes.transData:
                for x, y in np.asarray(line.get_xydata()).tolist():
                    yield axes, style.Mark(series, x, y)


def _place(figure: Figure, axes: Axes, mark: style.Mark) -> tuple[float, float] | None:
    """Where a mark lies in its figure; None outside the frame of its axes."""
    if not (math.isfinite(mark.x) and math.isfinite(mark.y)):
        return None
    x, y = axes.transData.transform((mark.x, mark.y))
    if not axes.bbox.padded(2).contains(x, y):
        return None
    return round(x / figure.bbox.width, 4), round(1 - y / figure.bbox.height, 4)


def _names(figure: Figure, axes: Axes) -> tuple[str, str, str]:
    """(the panel's title, the labels of its horizontal and vertical axes); panels may share the
    labels of their figure.
    """
    panel = axes.get_title() or str(figure.axes.index(axes) + 1)
    across = axes.get_xlabel() or figure.get_supxlabel()
    return panel, across, axes.get_ylabel() or figure.get_supylabel() or _left(figure, axes)


def _left(figure: Figure, axes: Axes) -> str:
    """The label of the vertical axis of the first panel, which the panels beside it share."""
    return figure.axes[0].get_ylabel() if axes is not figure.axes[0] else ""


def _plain(label: str) -> str:
    """A label without the marks of TeX: 10^11 FLOPs."""
    return re.sub(r"[${}]", "", label.replace(r"\times", "x").replace("\n", " ")).strip()


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else repr(float(value))
