"""No word is stronger than its interval: rules over a table of intervals."""

import pytest

from lm_lab.report.analyses.isoflop import words
from lm_lab.scaling.records import Estimate

SAID = {
    "evenly": "about evenly",
    "parameters": "parameters should grow faster",
    "data": "data should grow faster",
    "nothing": "undecided",
}


@pytest.mark.parametrize(
    "low, high, verdict",
    [
        (0.35, 0.61, "nothing"),  # of which the demo once said: about evenly
        (0.20, 0.80, "nothing"),
        (0.44, 0.53, "nothing"),
        (0.48, 0.56, "nothing"),
        (0.46, 0.54, "evenly"),
        (0.51, 0.54, "evenly"),  # all of it is near 1/2, whichever side
        (0.51, 0.56, "parameters"),
        (0.60, 0.90, "parameters"),
        (0.44, 0.49, "data"),
        (0.10, 0.30, "data"),
        (0.50, 0.62, "nothing"),  # an interval holds its ends
        (-0.4, 0.30, "data"),
    ],
)
def test_what_is_said_of_the_split_holds_for_the_whole_interval(low, high, verdict):
    said = words.split(Estimate((low + high) / 2, low, high))
    assert [name for name, phrase in SAID.items() if phrase in said] == [verdict]


def test_an_undecided_split_says_what_it_may_be():
    said = words.split(Estimate(0.48, 0.35, 0.61))
    assert "from 2.2 to 4.1 times the parameters" in said


def test_nothing_is_said_without_an_interval():
    assert "nothing is said" in words.split(Estimate(0.9))
    assert words.growth(Estimate(0.5)) == "3.2 times"
    assert words.agreement(Estimate(0.5), Estimate(0.5, 0.4, 0.6)) == ""
    assert "no interval" in words.held_out(None)


def test_a_growth_has_the_bounds_of_its_exponent():
    assert words.growth(Estimate(0.5, 0.35, 0.61)) == "3.2 (2.2 to 4.1) times"


@pytest.mark.parametrize(
    "one, other, said",
    [
        ((0.50, 0.40, 0.60), (0.52, 0.45, 0.62), "each lies in the interval of the other"),
        ((0.50, 0.40, 0.60), (0.62, 0.55, 0.70), "the intervals overlap, but"),
        ((0.50, 0.30, 0.70), (0.62, 0.55, 0.70), "the intervals overlap, but"),
        ((0.50, 0.45, 0.55), (0.62, 0.56, 0.70), "disagree beyond their intervals"),
    ],
)
def test_overlapping_intervals_are_no_agreement(one, other, said):
    assert said in words.agreement(Estimate(*one), Estimate(*other))
    assert said in words.agreement(Estimate(*other), Estimate(*one))
