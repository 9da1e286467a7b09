"""Numbers in words."""

import pytest

from lm_lab.report import text
from lm_lab.scaling.records import Estimate


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (text.power(1e11), "10¹¹"),
        (text.power(3e12), "3×10¹²"),
        (text.power(2.5e-4), "2.5×10⁻⁴"),
        (text.short(19_100), "19.1k"),
        (text.short(999_999), "1M"),
        (text.short(0.005), "0.005"),
        (text.plain(1234.5), "1,234"),
        (text.plain(-0.5, 2), "−0.50"),
        (text.plain(float("inf")), "∞"),
        (text.plain(0), "0"),
        (text.grouped(40_704), "40,704"),
        (text.percent(0.9), "90\u00a0%"),
        (text.seconds(5400), "1.5 h"),
        (text.seconds(48), "48 s"),
        (text.listed(["a", "b", "c"]), "a, b and c"),
        (text.many(1, "run"), "1 run"),
        (text.many(0, "run"), "no runs"),
        (text.many(1200, "run"), "1,200 runs"),
    ],
)
def test_numbers_read_as_a_paper_prints_them(shown, expected):
    assert shown == expected


def test_the_width_of_the_interval_decides_the_digits():
    assert text.rounded(Estimate(0.5498, 0.4821, 0.6044)) == ("0.55", "[0.48,\u00a00.60]")
    assert text.rounded(Estimate(1.36563, 1.3461, 1.3813)) == ("1.366", "[1.346,\u00a01.381]")
    assert text.rounded(Estimate(482.01, 300.2, 700.9)) == ("482", "[300,\u00a0701]")


def test_no_interval_is_none_shown():
    assert text.estimate(Estimate(0.5498)) == "0.550"
    assert text.rounded(Estimate(0.5498, float("-inf"), float("inf"))) == ("0.550", "")


def test_an_analysis_sentence_becomes_readable_and_names_of_runs_survive():
    assert text.readable("3.64e+04 parameters at 1e+11 FLOPs, 7% of draws") == (
        "36,400 parameters at 10¹¹ FLOPs, 7\u00a0% of draws"
    )
    assert text.readable("run 1234567e8901") == "run 1234567e8901"


def test_a_place_is_named_once():
    assert text.placed("budget 1e+11", "no vertex.") == "budget 10¹¹: no vertex"
    assert text.placed("run a", "run a failed") == "run a failed"
