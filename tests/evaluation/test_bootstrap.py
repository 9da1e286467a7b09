"""Bootstrap intervals cover the truth at their level, and pairs are resampled together."""

import numpy as np
import pytest

from lm_lab.contracts import Scores
from lm_lab.evaluation import bootstrap
from lm_lab.types import UserError


def mean_of(values: np.ndarray) -> Scores:
    return Scores({"x": values}, lambda statistics: {"mean": float(statistics["x"].mean())})


def ratio_of(nats: np.ndarray, sizes: np.ndarray) -> Scores:
    return Scores(
        {"nats": nats, "bytes": sizes},
        lambda statistics: {"rate": float(statistics["nats"].sum() / statistics["bytes"].sum())},
    )


def test_intervals_of_a_rate_cover_it():
    """Documents of unequal size whose rate is 2: 95 % of the intervals hold it."""
    generator, held = np.random.default_rng(0), 0
    trials = 200
    for trial in range(trials):
        sizes = generator.exponential(100, 60) + 1
        nats = sizes * generator.normal(2, 0.5, 60)
        found = bootstrap.intervals(ratio_of(nats, sizes), seed=trial, resamples=200)["rate"]
        assert found.low <= found.value <= found.high
        held += found.low <= 2 <= found.high
    # of 60 documents percentile intervals cover about 93 %; two standard errors of 200 trials are
    # 3.5 %
    assert 0.88 <= held / trials <= 0.985


def test_pairs_tell_a_difference_that_single_intervals_do_not():
    generator = np.random.default_rng(1)
    hard = generator.normal(0, 1, 200)  # documents differ much more than the two models
    one, other = mean_of(hard + 0.1 + generator.normal(0, 0.05, 200)), mean_of(hard)
    alone = [bootstrap.intervals(each)["mean"] for each in (one, other)]
    assert alone[0].low < alone[1].high
    between = bootstrap.differences(one, other)["mean"]
    assert 0.08 < between.low < between.value < between.high < 0.12
    assert between.value == pytest.approx(0.1, abs=0.02)


def test_equal_seeds_draw_equal_documents():
    scores = mean_of(np.arange(50.0))
    assert bootstrap.intervals(scores) == bootstrap.intervals(scores)
    assert bootstrap.intervals(scores) != bootstrap.intervals(scores, seed=1)
    same = bootstrap.differences(scores, scores)["mean"]
    assert same == (0.0, 0.0, 0.0)


def test_a_single_document_has_no_interval():
    found = bootstrap.intervals(mean_of(np.ones(1)))["mean"]
    assert found.value == 1
    assert np.isnan([found.low, found.high]).all()


def test_other_documents_are_no_pair():
    with pytest.raises(UserError, match="scored 3 and 4 documents"):
        bootstrap.differences(mean_of(np.ones(3)), mean_of(np.ones(4)))
