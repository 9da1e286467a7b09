"""The style of all figures: paper-column sizes, a serif face, colour-blind-safe colours."""

import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from lm_lab.report import formatting
from lm_lab.runs import durable
from lm_lab.scaling.records import Band, Estimate

COLUMN_INCHES = 3.4
PAGE_INCHES = 7.0

INK = "#1b1f24"
MUTED = "#6b7480"
FAINT = "#b9c0c9"
APPROACH_2 = "#0072b2"
APPROACH_3 = "#d9820f"
HELD_OUT = "#c02f6b"
SEQUENCE = LinearSegmentedColormap.from_list(
    "budgets", ["#35a98f", "#2b7fb0", "#27408f", "#1a1a4f"]
)

_STYLE: dict[Any, Any] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.8,
    "ytick.minor.size": 1.8,
    "axes.grid": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
}


@contextmanager
def applied() -> Iterator[None]:
    """Applies the style to figures made and saved inside; then restores the user's settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


class Mark(NamedTuple):
    """A number that a figure draws: a point, or a corner of a line, of a `series`.

    `low` and `high` bound its interval; `words` and `runs` say what a point is.
    """

    series: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    words: str = ""
    runs: tuple[str, ...] = ()
    is_point: bool = False


class ShownFigure(Figure):
    """A figure that a notebook shows, whichever backend of matplotlib it uses, or none.

    `marks` are the numbers that it draws (report/marks.py).
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.marks: list[tuple[Axes, Mark]] = []

    def _repr_png_(self) -> bytes:
        with io.BytesIO() as memory:
            self.savefig(memory, format="png", dpi=self.dpi)
            return memory.getvalue()


def panels(
    width: float,
    height: float,
    columns: int = 1,
    rows: int = 1,
    *,
    heights: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """An empty figure of a size in inches, and its axes in reading order; opens no window.

    `heights` are the relative heights of its rows.
    """
    figure = ShownFigure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False, height_ratios=heights).flat)


def literal(words: str) -> str:
    """The words with dollar signs escaped, so that none begins a formula."""
    return words.replace("$", r"\$")


def spelled(metric: str) -> str:
    """The name of a metric as an axis says it, as "bits per byte"."""
    return literal(metric.replace("_", " "))


def save(figure: Figure, folder: Path, name: str) -> bytes:
    """Writes name.png (200 dpi), name.pdf and name.svg into the folder; returns the SVG's bytes.

    It is laid out once and drawn once a kind: `savefig` would draw twice, to lay out again, and at
    another resolution than the layout's every formula would be parsed anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figure.dpi = matplotlib.rcParams["savefig.dpi"]
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)
        figure.set_layout_engine("none")
    salt = hashlib.sha256(name.encode()).hexdigest()[:12]
    drawn = {}
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        for form, write in (("png", _png), ("svg", _svg), ("pdf", _pdf)):
            with io.BytesIO() as memory:
                write(figure, memory)
                drawn[form] = memory.getvalue()
    FigureCanvasAgg(figure)
    for form, content in drawn.items():
        # unlinked first: a symbolic link at this path must not redirect the write
        durable.replace(folder / f"{name}.{form}", content)
    return drawn["svg"]


def _png(figure: Figure, file: io.BytesIO) -> None:
    FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})


def _svg(figure: Figure, file: io.BytesIO) -> None:
    FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": "lm_lab"})


def _pdf(figure: Figure, file: io.BytesIO) -> None:
    made_by = {"CreationDate": None, "Producer": None, "Creator": "lm_lab"}
    FigureCanvasPdf(figure).print_pdf(file, metadata=made_by)


# Okabe and Ito's colours, which any colour vision can tell apart, without the yellow that vanishes
# on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1b1f24", "#7a5195")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


def of_series(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Colour and mark of each series, no two alike up to 64."""
    return {
        name: {
            "color": COLOURS[place % len(COLOURS)],
            "marker": MARKS[(place + place // len(COLOURS)) % len(MARKS)],
        }
        for place, name in enumerate(names)
    }


def budget_colours(budgets: Sequence[float]) -> dict[float, str]:
    """A colour for each compute budget, darker for larger, spread by rank."""
    ordered = sorted(set(budgets))
    last = max(1, len(ordered) - 1)
    return {budget: to_hex(SEQUENCE(rank / last)) for rank, budget in enumerate(ordered)}


def log_axis(
    axis: Axis, low: float, high: float, *, ticks: Sequence[float] = (), most: int = 7
) -> None:
    """Sets a log axis over [low, high] with few readable ticks (5k, 10k, 20k).

    `ticks`, if given, are FLOPs and are labelled as powers of ten.
    """
    across = isinstance(axis, XAxis)
    (axis.axes.set_xscale if across else axis.axes.set_yscale)("log")
    (axis.axes.set_xlim if across else axis.axes.set_ylim)(low, high)
    major = list(ticks) or log_ticks(low, high, most)
    axis.set_major_locator(FixedLocator(major))
    axis.set_minor_locator(
        FixedLocator(_steps(low, high, range(1, 10))) if 4 < high / low < 1e4 else NullLocator()
    )
    decimals = (
        max((len(f"{tick:g}".partition(".")[2]) for tick in major), default=0)
        if high / low < 4
        else None
    )
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: math_power(value) if ticks else _tick(value, decimals))
    )
    axis.set_minor_formatter(NullFormatter())


def flops_axis(
    axis: Axis, values: Sequence[float], budgets: Sequence[float], margin: float
) -> None:
    """Sets a log axis of compute that contains the values; ticks are few budgets or decades."""
    low, high = spread(values, margin)
    named = sorted(set(budgets))
    apart = all(after / before > (high / low) ** 0.12 for before, after in pairwise(named))
    decades = _steps(low, high, (1,))
    log_axis(axis, low, high, ticks=named if named and apart and len(named) <= 6 else decades)


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """The finest usual series with at most `most` ticks, none of them near an end of the axis."""
    room = (high / low) ** 0.03
    low, high = low * room, high / room
    if high / low < 4:
        ticks = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        return [float(tick) for tick in ticks if low <= tick <= high]
    for series in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = _steps(low, high, series)
        if 2 <= len(ticks) <= most:
            return ticks
    decades = _steps(low, high, (1,))
    return decades[:: max(1, math.ceil(len(decades) / most))]


def _tick(value: float, decimals: int | None) -> str:
    """10k; evenly spaced small ticks all get the same decimals: 1.9, 2.0; large ones are powers."""
    if value >= 1e15:  # past the letters; the typeface has no raised 0 outside formulas
        return math_power(value)
    return formatting.short(value) if decimals is None or value >= 1000 else f"{value:.{decimals}f}"


def _steps(low: float, high: float, series: Iterable[float]) -> list[float]:
    """Every factor of the series in every decade, within [low, high]."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [
        step * 10.0**decade
        for decade in decades
        for step in series
        if low <= step * 10.0**decade <= high
    ]


def math_power(value: float) -> str:
    """3e12 as TeX for matplotlib: $3\times 10^{12}$."""
    mantissa, exponent = f"{value:.1e}".split("e")
    factor = f"{float(mantissa):g}"
    ten = rf"10^{{{int(exponent)}}}"
    return f"${ten}$" if factor == "1" else rf"${factor}\times {ten}$"


def spread(values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    """Axis limits that contain all values, with a margin, on a log scale."""
    low, high = min(values), max(values)
    room = max((high / low) ** margin, 1.02)
    return low / room, high * room


def bar(
    axes: Axes,
    estimate: Estimate,
    across: float,
    colour: str,
    *,
    along: Literal["x", "y"],
    cap: float = 2.5,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> None:
    """Draws the interval of an estimate, if it has one, as a capped bar; an end that lies beyond
    the limits `within` is an arrow at the limit.
    """
    if estimate.low is None or estimate.high is None:
        return
    least, most = within
    low, high = max(estimate.low, least), min(estimate.high, most)
    ends = [(low, estimate.low < least, "<v"), (high, estimate.high > most, ">^")]
    look = {"color": colour, "linewidth": 1.1, "zorder": 4}
    axes.plot(*_placed([low, high], across, along), **look)
    for end, is_beyond, arrows in ends:
        arrow, capped = (arrows[0], "|") if along == "x" else (arrows[1], "_")
        marker = {"marker": arrow if is_beyond else capped, "markersize": 2 * cap}
        axes.plot(*_placed([end], across, along), **look, **marker, markeredgewidth=1.1)


def _placed(
    values: list[float], across: float, along: Literal["x", "y"]
) -> tuple[list[float], list[float]]:
    others = [across] * len(values)
    return (values, others) if along == "x" else (others, values)


def ribbon(axes: Axes, band: Band, colour: str) -> None:
    """Draws the interval of a curve, if it has one, as a pale ribbon."""
    x, low, high = _bounds(band)
    if x:
        axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0, zorder=2)


def outline(axes: Axes, band: Band, colour: str) -> None:
    """Draws the interval of a curve, if it has one, as two thin dotted lines."""
    x, low, high = _bounds(band)
    for edge in (low, high):
        axes.plot(x, edge, color=colour, linewidth=0.8, linestyle=(0, (1, 1.4)), zorder=3)


def _bounds(band: Band) -> tuple[list[float], list[float], list[float]]:
    """Compute, low and high, where a band has an interval."""
    rows = [
        (flops, low, high)
        for flops, low, high in zip(band.flops, band.low, band.high)
        if low is not None and high is not None
    ]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
