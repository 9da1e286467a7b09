"""The answer says what the analysis found, and owns up to what it could not find."""

from dataclasses import replace

import pytest

from lm_lab.report import stored
from lm_lab.report.analyses.isoflop import rates, reading, results, text
from lm_lab.scaling.records import Band, Caution, Estimate


@pytest.fixture(scope="module")
def found(sweep):
    return results.analyse(
        stored.read(sweep).rows, results.Settings(held_out_budget=3e12, draws=20)
    )


def _with_exponent(found, method, estimate):
    frontiers = [
        replace(frontier, exponent_params=estimate) if frontier.method == method else frontier
        for frontier in found.analysis.frontiers
    ]
    return replace(found, analysis=replace(found.analysis, frontiers=tuple(frontiers)))


def test_exponents_are_found_by_each_count(found):
    by_count = {count.params: count.approach_3.value for count in found.counts}
    assert by_count["params_body"] > by_count["params"] > by_count["params_total"]


def test_disagreement_between_the_approaches_is_said(found):
    apart = _with_exponent(found, "approach 2", Estimate(0.9, 0.85, 0.95))
    assert "disagree beyond their intervals" in " ".join(text.answer(apart))


def test_a_refused_check_and_a_doubtful_surface_are_said(found):
    alone = replace(
        found.analysis,
        frontiers=tuple(f for f in found.analysis.frontiers if f.method == "approach 3"),
        cautions=(Caution("irreducible loss near 0", "approach 3", "E is 0.01"),),
    )
    answer = " ".join(text.answer(replace(found, analysis=alone)))
    assert "Approach 2 was refused" in answer
    assert "in doubt: irreducible loss near 0" in answer


def test_a_missed_prediction_is_said_to_be_outside(found):
    held = found.analysis.held_out
    missed = replace(held, observed=held.predicted.high * 1.1, inside=False)
    answer = " ".join(
        text.answer(replace(found, analysis=replace(found.analysis, held_out=missed)))
    )
    assert "above the prediction and outside the interval" in answer


def test_a_curve_is_read_off_on_log_axes_with_its_interval():
    band = Band((1e10, 1e11, 1e12), (10.0, 100.0, 1000.0), (5.0, 50.0, None), (20.0, 200.0, None))
    middle = reading.at(band, 3e10)
    assert (middle.value, middle.low, middle.high) == pytest.approx((30.0, 15.0, 60.0))
    assert reading.at(band, 3e11).high is None
    assert reading.at(band, 1e12).value == pytest.approx(1000.0)


def test_rates_are_averaged_over_seeds_and_single_rates_left_out():
    row = {"budget_flops": 1e11, "flops": 1e11}
    rows = [
        row | {"params": n, "rate": r, "loss": x}
        for n, r, x in [(1, 0.1, 2.0), (1, 0.1, 3.0), (1, 0.2, 2.0), (2, 0.1, 1.0)]
    ]
    ((compute, by_size),) = rates.by_value(rows, "rate").items()
    assert (compute, list(by_size)) == (1e11, [1])
    means = {rate: rates.mean_loss(same) for rate, same in by_size[1].items()}
    assert means == {0.1: 2.5, 0.2: 2.0}
    assert rates.by_value(rows, "no such column") == {}
