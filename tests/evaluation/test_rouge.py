"""ROUGE of English is rouge_score's, and of Korean what hand counting gives."""

import pytest

from lm_lab.evaluation import rouge

ENGLISH = [
    ("the cat sat on the mat", "the cat is on the mat"),
    ("They've 2 cats, don't they?", "they have two cats don't they"),
    ("", "something"),
    ("a a a b", "a b b"),
    ("Police killed the gunman.", "the gunman killed police"),
]


@pytest.mark.parametrize("written, target", ENGLISH)
def test_english_is_as_the_usual_package_has_it(written, target):
    scorer = pytest.importorskip("rouge_score.rouge_scorer")
    scores = scorer.RougeScorer(["rouge1", "rouge2", "rougeL"]).score(target, written)
    ours = {
        "rouge1": rouge.rouge_n(written, target, 1),
        "rouge2": rouge.rouge_n(written, target, 2),
        "rougeL": rouge.rouge_l(written, target),
    }
    assert ours == pytest.approx({name: score.fmeasure for name, score in scores.items()})


def test_korean_by_hand():
    written, target = "나는 밥을 먹었다.", "나는 오늘 밥을 많이 먹었다"
    # words: three of 3 and 5 in common, and no pair of them side by side in both
    assert rouge.rouge_n(written, target, 1) == pytest.approx(2 * 3 / (3 + 5))
    assert rouge.rouge_n(written, target, 2) == 0
    assert rouge.rouge_l(written, target) == pytest.approx(2 * 3 / 8)
    # characters: all 7 of the first are among the 11 of the second, in order
    assert rouge.rouge_n(written, target, 1, "characters") == pytest.approx(2 * 7 / (7 + 11))
    assert rouge.rouge_l(written, target, "characters") == pytest.approx(2 * 7 / 18)
    # pairs in common: 나는, 밥을, 먹었, 었다, of 6 and 10
    assert rouge.rouge_n(written, target, 2, "characters") == pytest.approx(2 * 4 / (6 + 10))


def test_forms_of_unicode_are_one():
    import unicodedata

    text = "한국어"
    assert rouge.rouge_l(unicodedata.normalize("NFD", text), text) == 1


def test_a_subsequence_may_skip():
    assert rouge.rouge_l("a b c d", "a x c y d") == pytest.approx(2 * 3 / 9)
    assert rouge.rouge_l("b a", "a b") == pytest.approx(0.5)
