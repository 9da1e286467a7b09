"""Formats numbers: significant digits by the uncertainty, separators, powers of ten, units."""

import math
import re
from collections.abc import Sequence

from lm_lab.scaling.records import Estimate

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
UNBROKEN = "\u00a0"
"""A space at which a line does not break."""

_ENGINEERING = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def power(value: float, digits: int = 2) -> str:
    """3e12 as 3×10¹²; 1e11 as 10¹¹. `digits` is the most significant digits of the factor."""
    if value <= 0 or not math.isfinite(value):
        return plain(value)
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    factor = f"{float(mantissa):g}"
    ten = "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
    return ten if factor == "1" else f"{factor}×{ten}"


def short(value: float, digits: int = 3) -> str:
    """19,100 as 19.1k, 1.2e6 as 1.2M; numbers below a thousand as they are."""
    rounded = float(f"{value:.{digits - 1}e}")
    for size, letter in _ENGINEERING:
        if abs(rounded) >= size:
            return (
                f"{rounded / size:.{digits}g}{letter}" if rounded < 1e15 else power(value, digits)
            )
    return minus(f"{value:.{digits}g}")


def plain(value: float, digits: int = 4) -> str:
    """A number with `digits` significant digits; an exponent only for extreme ones."""
    if not math.isfinite(value):
        return "not finite" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if -4 <= size < 9:
        return minus(f"{value:,.{max(0, digits - 1 - size)}f}")
    sign = "−" if value < 0 else ""
    return sign + power(abs(value), digits)


def grouped(value: float) -> str:
    """A count as a whole number with thousands separators."""
    return minus(f"{round(value):,}")


def varied(value: float) -> str:
    """A number that a study varies: 2,000 or 0.003."""
    return grouped(value) if abs(value) < 1e15 and value == round(value) else minus(f"{value:.4g}")


def rounded(of: Estimate) -> tuple[str, str]:
    """An estimate and its interval: "0.55", "[0.48, 0.60]"; without an interval, "".

    The interval's width gets two significant digits, and the estimate the same decimals.
    """
    value, low, high = of.value, of.low, of.high
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return plain(value, 3), ""
    decimals = 3 if high <= low else min(6, max(0, 1 - math.floor(math.log10(high - low))))
    shown = [
        power(x) if abs(value) >= 1e5 else minus(f"{x:,.{decimals}f}") for x in (value, low, high)
    ]
    return shown[0], f"[{shown[1]},{UNBROKEN}{shown[2]}]"


def estimate(of: Estimate) -> str:
    """An estimate, with its interval if it has one."""
    return UNBROKEN.join(part for part in rounded(of) if part)


def short_estimate(of: Estimate) -> str:
    """An estimate of a size, with its interval if it has one."""
    return UNBROKEN.join(part for part in short_bounds(of) if part)


def short_bounds(of: Estimate) -> tuple[str, str]:
    """An estimate of a size and its interval: "19.1k", "[15.2k, 24.0k]"; without one, ""."""
    if of.low is None or of.high is None:
        return short(of.value), ""
    return short(of.value), f"[{short(of.low)}, {short(of.high)}]"


def minus(text: str) -> str:
    """The text with typographic minus signs."""
    return text.replace("-", "−")


def percent(share: float) -> str:
    """0.9 as 90 %, 0.0123 as 1.2 %, with an unbreakable space."""
    return f"{100 * share:.2g}{UNBROKEN}%"


def seconds(value: float) -> str:
    """A duration: 48 s, 11.3 min, 2.4 h."""
    for size, unit in ((3600, "h"), (60, "min")):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:.3g} s"


def readable(words: str) -> str:
    """A sentence of the analysis with 3.64e+04, 1e+11 and 7% written as 36,400, 10¹¹ and 7 %."""

    def shown(match: re.Match[str]) -> str:
        value = float(match[0])
        return plain(value, 3).removesuffix(".0") if 1e-3 <= value < 1e6 else power(value, 3)

    return re.sub(r"(?<=\d)%", f"{UNBROKEN}%", re.sub(r"\b\d+(?:\.\d+)?e[+-]\d+\b", shown, words))


def placed(where: str, message: str) -> str:
    """A message preceded by its place, unless it names the place itself; without a full stop."""
    message = message.rstrip(".")
    return readable(message if where in message else f"{where}: {message}")


def listed(words: list[str]) -> str:
    """Joins words: a; a and b; a, b and c."""
    return (
        words[0]
        if len(words) == 1
        else f"{', '.join(words[:-1])} and {words[-1]}"
        if words
        else "none"
    )


def many(count: int, noun: str) -> str:
    """A count with its noun: 1 run, 2 runs, no runs."""
    return f"{count or 'no':,} {noun}{'' if count == 1 else 's'}" if count else f"no {noun}s"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text with their columns one below another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
