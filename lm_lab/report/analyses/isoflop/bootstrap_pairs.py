"""Bootstrap pairs: which parameters of the surface are correlated, so that the data cannot
determine each.
"""

from itertools import product

import numpy as np
from matplotlib import figure as drawings
from matplotlib.axes import Axes

from lm_lab.report import marks, style
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.report.page import Figure
from lm_lab.scaling.records import IsoflopAnalysis, Surface

NAMES = ("$E$", r"$\log_{10} A$", r"$\log_{10} B$", r"$\alpha$", r"$\beta$", "$a$")


def figure(analysis: IsoflopAnalysis, source: Source) -> Figure | None:
    """The figure with its caption; None where the analysis kept no resamples of a surface."""
    surface = analysis.surface
    if surface is None or len(surface.resamples) < 20:
        return None
    caption = (
        "Parameters of approach 3 in pairs, and a = β/(α + β), over "
        f"{len(surface.resamples):,} bootstrap resamples of the points, evenly chosen out of "
        f"{analysis.draws:,}; 98 % of each is shown. Orange: the fit of all points. A narrow "
        "slope: only a combination of the two is known, each alone is not."
    )
    return Figure(
        "bootstrap_pairs",
        "Bootstrap of the surface's parameters",
        caption,
        "Scatter of the resampled parameters of the surface against one another.",
        lambda: draw(surface),
    )


def draw(surface: Surface) -> drawings.Figure:
    """The lower triangle of the pairs, with histograms on the diagonal."""
    fitted = [surface.E, surface.A, surface.B, surface.alpha, surface.beta]
    draws = _columns(np.array([[parameter.value for parameter in fitted], *surface.resamples]))
    size = len(NAMES)
    drawing, panels = style.panels(style.PAGE_INCHES, style.PAGE_INCHES * 0.92, size, size)
    for (row, column), axes in zip(product(range(size), repeat=2), panels):
        if column > row:
            axes.remove()
            continue
        _panel(axes, draws, row, column)
        axes.tick_params(labelbottom=row == size - 1, labelleft=0 == column < row, labelsize=6.5)
        axes.set_xlabel(NAMES[column] if row == size - 1 else "")
        axes.set_ylabel(NAMES[row] if column == 0 and row else "")
    return drawing


def _columns(thetas: np.ndarray) -> np.ndarray:
    """The quantities of NAMES f64[6 R] of thetas (E, A, B, alpha, beta) f64[R 5]."""
    E, A, B, alpha, beta = thetas.T
    tiny = 1e-300
    share = beta / np.maximum(alpha + beta, tiny)
    return np.stack(
        [E, np.log10(np.maximum(A, tiny)), np.log10(np.maximum(B, tiny)), alpha, beta, share]
    )


def _panel(axes: Axes, every: np.ndarray, row: int, column: int) -> None:
    limits = [_limits(values) for values in every]
    axes.set_xlim(*limits[column])
    axes.locator_params(nbins=3)
    if row == column:
        axes.hist(every[row, 1:], bins=24, range=limits[row], color=style.FAINT)
        axes.axvline(every[row, 0], color=style.APPROACH_3, linewidth=1.1)
        axes.set_yticks([])
        return
    axes.set_ylim(*limits[row])
    pair = f"{NAMES[row]} by {NAMES[column]}".replace("$", "").replace("\\", "")
    x, y = every[column, 1:].tolist(), every[row, 1:].tolist()
    look = {"markersize": 1.7, "markeredgewidth": 0, "color": style.APPROACH_2, "alpha": 0.45}
    marks.points(axes, x, y, f"resamples, {pair}", **look)
    marks.points(
        axes,
        [float(every[column, 0])],
        [float(every[row, 0])],
        f"fit, {pair}",
        marker="+",
        markersize=7,
        markeredgewidth=1.3,
        color=style.APPROACH_3,
    )


def _limits(values: np.ndarray) -> tuple[float, float]:
    """A range with 98 % of the resamples and the fit."""
    low, high = np.percentile(values[1:], [1, 99])
    low, high = min(low, values[0]), max(high, values[0])
    room = 0.08 * max(high - low, 1e-9 * max(abs(low), 1.0))
    return float(low - room), float(high + room)
