"""Evaluates word vectors f32[V D]: neighbours, analogies, and similarity as people judge it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from scipy import stats

from lm_lab.contracts import EvaluationData, Metric, MetricFunction
from lm_lab.runs import reading
from lm_lab.schema import setting
from lm_lab.types import PyTree, UserError

Ids = npt.ArrayLike
Encode = Callable[[str], Any]


@dataclass(frozen=True)
class Config:
    """The files of questions; at least one must be given."""

    analogies: str | None = setting("file of questions a b c d; None: none", None)
    similarities: str | None = setting("file of lines a b score, by people; None: none", None)


def prepare(config: Config, data: EvaluationData) -> MetricFunction:
    """The scores of the embedding's rows on each file, and the share of its questions whose words
    have an id.

    Raises UserError for a file that cannot be read, or too few of whose words have an id.
    """
    encode, questions, rated_pairs = data.codec.encode, None, None
    if config.analogies:
        questions = read_analogies(config.analogies, encode)
        _require("analogies", questions[0], 1)
    if config.similarities:
        rated_pairs = read_similarities(config.similarities, encode)
        _require("similarities", rated_pairs[0], 3)

    def measure(params: PyTree) -> dict[str, float]:
        table = jax.device_get(params["embed"]["embedding"])
        values: dict[str, float] = {}
        if questions is not None:
            values |= {"analogies": analogies(table, questions[0]), "analogies_known": questions[1]}
        if rated_pairs is not None:
            pairs, scores, share = rated_pairs
            values |= {"similarity": similarity(table, pairs, scores), "similarity_known": share}
        return values

    return measure


def _require(name: str, rows: np.ndarray, least: int) -> None:
    if len(rows) < least:
        raise UserError(
            f"config.objective.{name}: {len(rows)} lines of it have only words with an id; give "
            "more"
        )


def unit(vectors: npt.ArrayLike) -> np.ndarray:
    """Vectors scaled to length 1; zero vectors stay zero."""
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def nearest(vectors: npt.ArrayLike, ids: Ids, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(ids, cosines) [n count] of the words nearest each of n, without itself, nearest first."""
    unit_vectors, queries = unit(vectors), np.asarray(ids)
    return _best(unit_vectors @ unit_vectors[queries].T, queries[:, None], count)


def analogies(vectors: npt.ArrayLike, questions: Ids, block: int = 1024) -> float:
    """The share of questions [n 4], "a is to b as c is to d", that are answered with d.

    The answer is by 3CosAdd (1301.3781): the word nearest b - a + c, except those three. Raises
    UserError if there are no questions.
    """
    unit_vectors, question_ids = unit(vectors), np.asarray(questions)
    if question_ids.ndim != 2 or question_ids.shape[1] != 4 or not len(question_ids):
        raise UserError(
            "analogies are rows of 4 words, and at least one, not an array of shape "
            f"{list(question_ids.shape)}"
        )
    correct = 0
    for start in range(0, len(question_ids), block):  # a table of V scores for each question
        a, b, c, d = question_ids[start : start + block].T
        answers, _ = _best(
            unit_vectors @ (unit_vectors[b] - unit_vectors[a] + unit_vectors[c]).T,
            np.stack([a, b, c], axis=1),
            1,
        )
        correct += int((answers[:, 0] == d).sum())
    return correct / len(question_ids)


def similarity(vectors: npt.ArrayLike, pairs: Ids, scores: Sequence[float] | np.ndarray) -> float:
    """Spearman's correlation of the cosines of n pairs [n 2] with people's scores [n].

    Raises UserError for fewer than 3 pairs, or a different number of scores.
    """
    unit_vectors, pair_ids = unit(vectors), np.asarray(pairs)
    if len(pair_ids) < 3 or len(pair_ids) != len(scores):
        raise UserError(
            f"a correlation needs 3 pairs or more and a score for each, not {len(pair_ids)} and "
            f"{len(scores)}"
        )
    cosines = (unit_vectors[pair_ids[:, 0]] * unit_vectors[pair_ids[:, 1]]).sum(-1)
    correlation: Any = stats.spearmanr(cosines, np.asarray(scores))
    return float(correlation.statistic)


def read_analogies(path: str, encode: Encode) -> tuple[np.ndarray, float]:
    """(ids i32[n 4] of the questions whose words all have an id, their share of all questions).

    A line is "a b c d"; a line that begins with a colon names a section, as in questions-words.txt
    (1301.3781). Raises UserError naming the file and line.
    """
    rows = [words for words in _rows(path, 4) if words]
    ids = [word_ids for words in rows if (word_ids := _ids(words, encode)) is not None]
    return np.asarray(ids, np.int32).reshape(-1, 4), len(ids) / max(len(rows), 1)


def read_similarities(path: str, encode: Encode) -> tuple[np.ndarray, np.ndarray, float]:
    """(ids i32[n 2], scores f64[n], share of all pairs) of lines "a b score", as in WordSim-353.

    Only pairs whose words both have an id count. Raises UserError naming the file and line.
    """
    pairs, scores, count = [], [], 0
    for number, (first, second, score) in enumerate(_rows(path, 3), 1):
        try:
            value = float(score)
        except ValueError:
            raise UserError(
                f"{path}: pair {number} has no number as its score, but {score!r}; mend it"
            ) from None
        count += 1
        word_ids = _ids([first, second], encode)
        if word_ids is not None:
            pairs.append(word_ids)
            scores.append(value)
    return (
        np.asarray(pairs, np.int32).reshape(-1, 2),
        np.asarray(scores),
        len(pairs) / max(count, 1),
    )


def _rows(path: str, columns: int) -> list[list[str]]:
    """The words of each line, except section lines, separated by spaces, tabs or commas."""
    try:
        lines = reading.read_bytes(Path(path)).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read: {error}; name a text file") from None
    rows = []
    for number, line in enumerate(lines, 1):
        words = line.replace(",", " ").split()
        if words and not line.startswith((":", "#")):
            if len(words) != columns:
                raise UserError(
                    f"{path}:{number}: {len(words)} columns, not {columns}; mend the line"
                )
            rows.append(words)
    return rows


def _ids(words: Sequence[str], encode: Encode) -> list[int] | None:
    """The ids of words, None if one is split into several tokens."""
    ids = [encode(word) for word in words]
    return (
        [int(token_ids[0]) for token_ids in ids]
        if all(len(token_ids) == 1 for token_ids in ids)
        else None
    )


def _best(scores_Vn: np.ndarray, without: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(ids, scores) [n count] of the highest of each column, without the ids `without` [n m]."""
    scores = scores_Vn.T.copy()
    np.put_along_axis(scores, without, -np.inf, axis=1)
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return ids, np.take_along_axis(scores, ids, axis=1)


METRIC = Metric(Config, prepare)
