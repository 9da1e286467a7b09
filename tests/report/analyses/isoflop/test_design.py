"""What is said of a design before any of its runs: by its sizes alone."""

import re

import numpy as np
import pytest

from lm_lab.report.analyses.isoflop.design import cautions, describe
from lm_lab.report.analyses.isoflop.results import Settings
from lm_lab.report.contract import Assumptions

BUDGETS = (1e10, 1e11, 1e12, 1e13)
RATIOS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.9)
SETTINGS = Settings()


def rows_of(budgets=BUDGETS, ratios=RATIOS, exponent=0.5126, rates=(1, 2, 3), moved=1.0):
    """Rows of planned runs about N = 2e4 (C / 1e11)^exponent, at C = 6ND."""
    rows = []
    for budget in budgets:
        for ratio in ratios:
            params = 2e4 * (budget / 1e11) ** exponent * ratio
            params *= moved if budget == max(budgets) else 1.0
            size = {"params": params, "tokens": budget / (6 * params), "flops": budget}
            run = {"budget_flops": budget, **size}
            rows += [{**run, "optimizer.peak_rate": rate} for rate in rates]
    return rows


def test_a_good_design_has_no_caution():
    assert cautions(rows_of(), SETTINGS) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"budgets": (1e11,)}, ["1 fitted budget: no exponent can be fitted"]),
        ({"budgets": (1e11, 1e13)}, ["two fitted budgets: nothing checks the exponent"]),
        ({"budgets": (1e10, 1e11, 1e13)}, ["three fitted budgets"]),
        ({"ratios": (0.4, 1.0, 2.5)}, ["fewer than four sizes at 10¹⁰, 10¹¹, 10¹² and 10¹³"]),
        ({"moved": 8.0}, ["at 10¹³ FLOPs lie to one side of the optimum"]),
        ({"moved": 2.5}, ["at 10¹³ FLOPs are off the centre"]),
        ({"exponent": 0.95}, ["lie to one side", "off the centre"]),
        ({"rates": (1,)}, ["one peak rate a size"]),
        ({"rates": (1, 2)}, ["two peak rates a size"]),
        (
            {"ratios": (1.0,), "budgets": tuple(np.geomspace(1e10, 1e13, 12)), "exponent": 0.5},
            ["D/N is fixed", "fewer than four sizes", "condition number", "wider than 1"],
        ),
    ],
)
def test_what_is_weak_is_said(changes, says):
    found = cautions(rows_of(**changes), SETTINGS)
    for words in says:
        assert any(words in line for line in found), found


def test_seeds_are_no_rates_and_held_out_budgets_are_not_fitted():
    rows = [row | {"seed": seed} for row in rows_of(rates=(1,)) for seed in range(3)]
    settings = Settings(held_out_budget=1e13)
    found = cautions(rows, settings)
    assert any("one peak rate" in line for line in found)
    assert any("three fitted budgets" in line for line in found)


def test_the_plan_tells_what_to_expect_and_what_to_add():
    text = "\n".join(describe(rows_of(), Settings(held_out_budget=1e13), Assumptions()))
    assert "1e+13 held out" in text
    assert "Chinchilla's exponents" in text
    assert "held-out loss       its 90 % interval" in text.replace("\u00a0", " ")
    assert "runs that would tell most" not in text
    law = (0.7, 16.9, 0.35, 105.0, 0.36)
    lines = describe(rows_of(), SETTINGS, Assumptions(law, 0.005, 2e13))
    assert "as given" in "\n".join(lines)
    place = lines.index("runs that would tell most of the exponent for 2e+13 FLOPs more")
    widths = [float(word) for word in lines[-1].replace("(", "").split() if word[:2] == "0."]
    before, after, repeated = widths
    assert after < repeated < before
    assert all("FLOPs: N = " in line for line in lines[place + 1 : -1])


def test_a_second_seed_of_one_rate_alone_leaves_the_number_of_rates():
    """Three rates and one run more are three rates, each of a third more seeds than one."""
    rows = [row | {"seed": 0} for row in rows_of(rates=(1, 2, 3))]
    rows += [row | {"seed": 1} for row in rows_of(rates=(2,))]
    table = "\n".join(describe(rows, Settings(), Assumptions()))
    assert re.search(r"\s7\s+3\s+1\.3\s", table)
    assert "two peak rates" not in table
