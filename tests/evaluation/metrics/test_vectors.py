import numpy as np
import pytest
from scipy import stats

from lm_lab.evaluation.metrics import vectors
from lm_lab.types import UserError

# man, woman, king, queen, and words of no use: the first axis is being royal, the second being
# female.
WORDS = np.array([[0, 1.0, 1], [0, -1, 1], [2, 1, 1], [2, -1, 1], [-3, 0.2, 0], [0, 0, 0]])


def test_neighbours_are_those_of_the_highest_cosine_and_never_the_word_itself():
    ids, cosines = vectors.nearest(100 * WORDS, [0, 3], 2)
    table = np.array(
        [[a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9) for b in WORDS] for a in WORDS]
    )
    for word, found, scores in zip((0, 3), ids, cosines):
        assert word not in found
        assert scores == pytest.approx(np.sort(np.delete(table[word], word))[::-1][:2], abs=1e-6)


def test_analogies_are_answered_by_the_vector_that_completes_the_parallelogram():
    right, wrong = [0, 1, 2, 3], [0, 1, 2, 4]
    assert vectors.analogies(WORDS, [right, wrong, [1, 0, 3, 2]]) == pytest.approx(2 / 3)
    assert vectors.analogies(WORDS, [right] * 5 + [wrong], block=2) == pytest.approx(5 / 6)


def test_similarity_is_the_correlation_of_ranks():
    pairs, scores = [[0, 1], [0, 2], [2, 3], [0, 4]], [1.0, 9, 4, 3]
    cosines = [float(vectors.unit(WORDS[a]) @ vectors.unit(WORDS[b])) for a, b in pairs]
    expected = np.corrcoef(stats.rankdata(cosines), stats.rankdata(scores))[0, 1]
    assert vectors.similarity(WORDS, pairs, scores) == pytest.approx(expected, abs=1e-6)


def test_too_little_to_go_by_is_refused():
    with pytest.raises(UserError, match="analogies are rows of 4 words"):
        vectors.analogies(WORDS, [[0, 1, 2]])
    with pytest.raises(UserError, match="a correlation needs 3 pairs"):
        vectors.similarity(WORDS, [[0, 1], [0, 2]], [1, 2])


def encode(word):
    known = {"king": [1], "queen": [2], "man": [3], "woman": [4]}
    return known.get(word, [7, 8])


def test_files_of_questions_and_of_judgements(tmp_path):
    (tmp_path / "q.txt").write_text(": family\nman king woman queen\nman king woman duchess\n")
    ids, known = vectors.read_analogies(str(tmp_path / "q.txt"), encode)
    assert (ids.tolist(), known) == ([[3, 1, 4, 2]], 0.5)
    (tmp_path / "s.csv").write_text("king,queen,8.5\nking\tduke\t7\n\nman woman 8\n")
    pairs, scores, known = vectors.read_similarities(str(tmp_path / "s.csv"), encode)
    assert (pairs.tolist(), scores.tolist(), known) == ([[1, 2], [3, 4]], [8.5, 8.0], 2 / 3)
    (tmp_path / "bad.txt").write_text("man king woman\n")
    with pytest.raises(UserError, match=r"bad\.txt:1: 3 columns, not 4"):
        vectors.read_analogies(str(tmp_path / "bad.txt"), encode)
    with pytest.raises(UserError, match=r"none\.txt: cannot read"):
        vectors.read_similarities(str(tmp_path / "none.txt"), encode)
