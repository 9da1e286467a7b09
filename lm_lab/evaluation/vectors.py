"""What word vectors know: neighbours, analogies and similarity as people judge it. Vectors are f32[V D], ids rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from lm_lab.types import UserError

Ids = npt.ArrayLike


def unit(vectors: npt.ArrayLike) -> np.ndarray:
    """Vectors of length 1; those of length 0 stay."""
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def nearest(vectors: npt.ArrayLike, ids: Ids, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(ids, cosines) [n count] of the words nearest each of n, itself left out, the nearest first."""
    words, asked = unit(vectors), np.asarray(ids)
    return _best(words @ words[asked].T, asked[:, None], count)


def analogies(vectors: npt.ArrayLike, questions: Ids, block: int = 1024) -> float:
    """The share of questions [n 4], "a is to b as c is to d", answered with d by 3CosAdd (1301.3781): the word nearest
    b - a + c, those three left out. Raises UserError where there are no questions."""
    words, asked = unit(vectors), np.asarray(questions)
    if asked.ndim != 2 or asked.shape[1] != 4 or not len(asked):
        raise UserError(f"analogies are rows of 4 words, and at least one, not an array of shape {list(asked.shape)}")
    right = 0
    for begin in range(0, len(asked), block):  # a table of V scores for each question
        a, b, c, d = asked[begin : begin + block].T
        found, _ = _best(words @ (words[b] - words[a] + words[c]).T, np.stack([a, b, c], axis=1), 1)
        right += int((found[:, 0] == d).sum())
    return right / len(asked)


def similarity(vectors: npt.ArrayLike, pairs: Ids, scores: Sequence[float] | np.ndarray) -> float:
    """Spearman's correlation of the cosines of n pairs [n 2] with people's scores [n].

    Raises UserError for fewer than 3 pairs, or another number of scores.
    """
    words, asked = unit(vectors), np.asarray(pairs)
    if len(asked) < 3 or len(asked) != len(scores):
        raise UserError(f"a correlation needs 3 pairs or more and a score for each, not {len(asked)} and {len(scores)}")
    cosines = (words[asked[:, 0]] * words[asked[:, 1]]).sum(-1)
    correlation: Any = stats.spearmanr(cosines, np.asarray(scores))
    return float(correlation.statistic)


def _best(scores_Vn: np.ndarray, without: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(ids, scores) [n count] of the highest of each column, but for the ids `without` [n m]."""
    scores = scores_Vn.T.copy()
    np.put_along_axis(scores, without, -np.inf, axis=1)
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return ids, np.take_along_axis(scores, ids, axis=1)
