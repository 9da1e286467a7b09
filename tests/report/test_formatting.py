"""Numbers in words."""

import pytest

from lm_lab.report import formatting
from lm_lab.scaling.records import Estimate


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formatting.power(1e11), "10¹¹"),
        (formatting.power(3e12), "3×10¹²"),
        (formatting.power(2.5e-4), "2.5×10⁻⁴"),
        (formatting.short(19_100), "19.1k"),
        (formatting.short(999_999), "1M"),
        (formatting.short(0.005), "0.005"),
        (formatting.plain(1234.5), "1,234"),
        (formatting.plain(-0.5, 2), "−0.50"),
        (formatting.plain(float("inf")), "∞"),
        (formatting.plain(0), "0"),
        (formatting.grouped(40_704), "40,704"),
        (formatting.percent(0.9), "90\u00a0%"),
        (formatting.seconds(5400), "1.5 h"),
        (formatting.seconds(48), "48 s"),
        (formatting.listed(["a", "b", "c"]), "a, b and c"),
        (formatting.many(1, "run"), "1 run"),
        (formatting.varied(200000.0), "200,000"),
        (formatting.varied(0.001), "0.001"),
        (formatting.varied(1e38), "1e+38"),
        (formatting.many(0, "run"), "no runs"),
        (formatting.many(1200, "run"), "1,200 runs"),
    ],
)
def test_numbers_read_as_a_paper_prints_them(shown, expected):
    assert shown == expected


def test_the_width_of_the_interval_decides_the_digits():
    assert formatting.rounded(Estimate(0.5498, 0.4821, 0.6044)) == ("0.55", "[0.48,\u00a00.60]")
    assert formatting.rounded(Estimate(1.36563, 1.3461, 1.3813)) == ("1.366", "[1.346,\u00a01.381]")
    assert formatting.rounded(Estimate(482.01, 300.2, 700.9)) == ("482", "[300,\u00a0701]")


def test_no_interval_is_none_shown():
    assert formatting.estimate(Estimate(0.5498)) == "0.550"
    assert formatting.rounded(Estimate(0.5498, float("-inf"), float("inf"))) == ("0.550", "")


def test_an_analysis_sentence_becomes_readable_and_names_of_runs_survive():
    assert formatting.readable("3.64e+04 parameters at 1e+11 FLOPs, 7% of draws") == (
        "36,400 parameters at 10¹¹ FLOPs, 7\u00a0% of draws"
    )
    assert formatting.readable("run 1234567e8901") == "run 1234567e8901"


def test_a_place_is_named_once():
    assert formatting.placed("budget 1e+11", "no vertex.") == "budget 10¹¹: no vertex"
    assert formatting.placed("run a", "run a failed") == "run a failed"
