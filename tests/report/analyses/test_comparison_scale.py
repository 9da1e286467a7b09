"""A comparison by other metrics than bits per byte: in their own unit, in the direction that is
good, and refused where that is not known.
"""

import dataclasses

import pytest

from lm_lab.report.analyses.comparison import ANALYSIS, tables, text
from lm_lab.report.analyses.comparison.arms import check
from lm_lab.report.analyses.comparison.results import analyse
from lm_lab.report.page import Figure
from lm_lab.report.stored import read
from lm_lab.scaling.records import Estimate
from lm_lab.types import UserError
from tests.report.analyses.test_comparison import ARMS, BUDGETS, NOISE, SETTINGS, analysed, rows
from tests.report.conftest import write_sweep

ACCURACY = "eval/heldout/accuracy"


def scored():
    """The rows with an accuracy that falls with the loss, and is 0 at the LSTM's first budget."""
    made = rows()
    for row in made:
        value = 1.6 - row["bits_per_byte"] / 2
        is_zero = (row["model.family"], row["budget_flops"]) == ("rnn", BUDGETS[0])
        row[ACCURACY] = 0.0 if is_zero else value
        row["eval/heldout/nonsense"] = 10 * value
    return made


def test_a_metric_of_which_more_is_better_is_compared_in_its_own_unit():
    results = analyse(scored(), dataclasses.replace(SETTINGS, metric=ACCURACY))
    first, second = results.at(1e12)
    assert (first.arm, first.rate, second.rate) == ("decoder", 1.0, 1.0)
    [pair] = [each for each in results.pairs if each.budget == 1e12]
    assert pair.difference.value == pytest.approx(first.metric.value - second.metric.value)
    assert pair.told
    # two values NOISE either side of a loss of about 2 are about NOISE either side of an accuracy
    assert 0 < results.noise.deviation.value < 2 * NOISE
    ends = [end for cell in results.cells for end in (cell.metric.low, cell.metric.high)]
    assert min(ends) == 0.0  # the interval of an accuracy of 0 goes no lower
    assert not any(item.extrapolated for item in results.multipliers)
    said = " ".join(text.answer(results))
    assert "in held-out accuracy (90\u00a0% intervals, higher is better): decoder 0." in said
    assert "decoder has the highest at every budget" in said
    assert "Near the end of the range" in [notice.title for notice in text.notices(results)]
    assert tables.pairs(results).caption.startswith(
        "Accuracy of the second below that of the first"
    )


def test_the_direction_alone_turns_an_analysis_over():
    """A metric and its negative, compared the other way, give the same results."""
    settings = dataclasses.replace(SETTINGS, metric="score", direction="higher")
    made = [row | {"score": 3 - row["bits_per_byte"]} for row in rows()]
    up = analyse(made, settings)
    made = [row | {"score": -row["score"]} for row in made]
    down = analyse(made, dataclasses.replace(settings, direction="lower"))
    assert [pair.difference for pair in up.pairs] == [pair.difference for pair in down.pairs]
    assert [item.share for item in up.multipliers] == [item.share for item in down.multipliers]
    assert up.decisions == down.decisions
    for one, other in zip(up.cells, down.cells):
        turned = Estimate(-other.metric.value, -other.metric.high, -other.metric.low)
        assert one == dataclasses.replace(other, metric=turned, tried=one.tried)


def test_ratios_are_kept_for_likelihoods():
    """Perplexities of one unit are compared as bits per byte are: the order and the shares of
    compute follow from the figures alone, not from the column's name.
    """
    made = [row | {"eval/books/perplexity": row["bits_per_byte"]} for row in rows()]
    found = analyse(made, dataclasses.replace(SETTINGS, metric="eval/books/perplexity"))
    assert found.multipliers == analysed().multipliers
    assert "in books perplexity (90\u00a0% intervals, lower is better)" in text.answer(found)[0]


@pytest.mark.parametrize(
    "metric, direction, message",
    [
        ("eval/heldout/acuracy", None, "is measured by no run; did you mean 'eval/heldout/accur"),
        ("eval/heldout/nonsense", None, r"analysis\.direction is missing: say whether 'higher'"),
        (ACCURACY, "lower", r"direction is 'lower', but higher values of eval/heldout/accuracy"),
        ("name", "lower", "is 000000000000 in run 000000000000; name a number"),
    ],
)
def test_a_metric_that_cannot_be_compared_is_refused(metric, direction, message):
    settings = dataclasses.replace(SETTINGS, metric=metric, direction=direction)
    for refuse in (lambda: check(settings, scored()), lambda: analyse(scored(), settings)):
        with pytest.raises(UserError, match=message):
            refuse()


def test_the_figures_of_an_accuracy_are_labelled_by_it(tmp_path):
    made, chosen = scored(), {"metric": ACCURACY}
    analysis = {"kind": "comparison", "arms": ARMS, "reference": "decoder", **chosen}
    keys = ("model.family", "optimizer.peak_rate")
    write_sweep(tmp_path, rows=made, keys=keys, analysis=analysis, curves=False)
    results = analyse(made, dataclasses.replace(SETTINGS, **chosen))
    report = ANALYSIS.report(results, read(tmp_path))
    blocks = [block for section in report.sections for block in section.blocks]
    figures = {block.name: block for block in blocks if isinstance(block, Figure)}
    labels = {name: each.draw().axes[0].get_ylabel() for name, each in figures.items()}
    assert labels == {
        "costs": "held-out accuracy",
        "multipliers": "share of it that decoder needs",
        "valleys": "held-out accuracy",
        "rates": "accuracy below the best",
    }
    words = " ".join(f"{each.title} {each.caption} {each.alt}" for each in figures.values())
    assert "bits per byte" not in words.lower()
    assert "loss" not in words.lower()
