"""Phrases for intervals, which never claim more than holds for all values of the interval."""

from lm_lab.report import formatting
from lm_lab.scaling.records import Estimate, Predictor

SOURCES: dict[Predictor, str] = {
    "surface": "the surface of approach 3",
    "valley power law": "the power law through the valleys",
}
EVEN = 0.05  # exponents this near to 1/2 are even: ten times the compute, 2.8 to 3.5 times each


def split(exponent: Estimate) -> str:
    """How parameters and data share more compute, by the exponent of N* in C with its interval."""
    low, high = exponent.low, exponent.high
    if low is None or high is None:
        return "No interval could be had, so nothing is said about how the two compare."
    if low >= 0.5 - EVEN and high <= 0.5 + EVEN:
        return "All of the interval is near a = 0.5: parameters and data grow about evenly."
    if low > 0.5:
        return "All of the interval is above a = 0.5: parameters should grow faster than data."
    if high < 0.5:
        return "All of the interval is below a = 0.5: data should grow faster than parameters."
    less, more = (formatting.plain(10**bound, 2) for bound in (low, high))
    return (
        "Which of the two should grow faster is undecided: the interval holds a = 0.5, and reaches "
        f"from {less} to {more} times the parameters for ten times the compute."
    )


def growth(exponent: Estimate) -> str:
    """The factor by which a quantity grows at ten times the compute: "3.0 (2.2 to 4.1) times"."""
    value = formatting.plain(10**exponent.value, 2)
    if exponent.low is None or exponent.high is None:
        return f"{value} times"
    low, high = (formatting.plain(10**bound, 2) for bound in (exponent.low, exponent.high))
    return f"{value} ({low} to {high}) times"


def agreement(one: Estimate, other: Estimate) -> str:
    """How two estimates of one number with their intervals compare; "" where one has none."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return ""
    if max(one.low, other.low) > min(one.high, other.high):
        return (
            "the two approaches disagree beyond their intervals, so neither should be leant on "
            "alone"
        )
    if one.low <= other.value <= one.high and other.low <= one.value <= other.high:
        return "each lies in the interval of the other"
    return "the intervals overlap, but one approach lies outside that of the other"


def held_out(inside: bool | None) -> str:
    """Whether an observed number lies inside the interval; None means there was no interval to
    test.
    """
    if inside is None:
        return "there is no interval that it could lie in"
    return f"{'inside' if inside else 'outside'} the interval"
