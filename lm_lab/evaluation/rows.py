"""Cuts texts into rows for a model, and batches rows of similar length in a few shapes, so that few
programs are compiled.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import jax
import numpy as np

from lm_lab.generation import padded
from lm_lab.types import PyTree

BATCHES = 64  # so many batches are read ahead and sorted by length together
FIRST_ROOM, GROWTH = 8, 4  # row lengths are padded to 8, 32, 128, ... tokens


class Row(NamedTuple):
    """Tokens to score, and the context given before them."""

    given: Sequence[int]  # at least one
    target: Sequence[int]


class Score(NamedTuple):
    """The score of each token of a row's target."""

    nats: np.ndarray  # f32, log likelihoods
    greedy: np.ndarray  # bool, whether the token was the most likely one


class Shape(NamedTuple):
    """How rows are laid out in a batch."""

    rows: int  # rows of a batch
    limits: tuple[int, int]  # the most tokens that are given, and that are scored
    left: bool = True  # whether given tokens are padded on the left
    fixed: bool = False  # whether all rows are padded to the limits, as nearly all have that length


# (params, given i32[B G], 1 where there is one, target i32[B T], 1 where there is one) ->
# (log likelihoods f32[B T], whether likeliest bool[B T])
Program = Callable[..., tuple[jax.Array, jax.Array]]


def windows(ids: np.ndarray, start: int, given: int, scored: int) -> Iterator[Row]:
    """A text as rows of `scored` tokens, each after up to `given` tokens of context; each token of
    the text is scored once. The id `start` stands before the text.
    """
    for start_of_row in range(0, len(ids), scored):
        context = ids[max(0, start_of_row - given) : start_of_row].tolist()
        if start_of_row < given:
            context = [start, *context]
        yield Row(context, ids[start_of_row : start_of_row + scored].tolist())


def continuation(
    given: Sequence[int], target: Sequence[int], limits: tuple[int, int], size: int
) -> list[Row]:
    """A continuation as one row of at most `size` tokens, with `limits` for given and scored ones;
    the given tokens are cut from the left. A longer target becomes several rows of half that size,
    each after the tokens before it.
    """
    tokens, first = [*given, *target], len(given)
    step = min(limits[1], size - 1)
    if len(target) > step:
        step = min(limits[1], size - size // 2)
    rows = []
    for start in range(first, len(tokens), step):
        scored_tokens = tokens[start : start + step]
        context_size = min(limits[0], size - len(scored_tokens))
        rows.append(Row(tokens[max(0, start - context_size) : start], scored_tokens))
    return rows


def scored(
    program: Program,
    params: PyTree,
    rows: Iterable[Row],
    shape: Shape,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[Score]:
    """The scores of rows, in their order. Rows are read as they are needed, some batches ahead.

    `advance` is called with the number of tokens of every batch that is scored.
    """
    source = iter(rows)
    while chunk := list(islice(source, BATCHES * shape.rows)):
        rooms: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, row in enumerate(chunk):
            rooms[_rooms(row, shape)].append(number)
        scores_by_number: dict[int, Score] = {}
        for room, numbers in rooms.items():
            for first in range(0, len(numbers), shape.rows):
                batch = numbers[first : first + shape.rows]
                scores = _batch(program, params, [chunk[number] for number in batch], room, shape)
                advance(sum(len(score.nats) for score in scores))
                scores_by_number |= dict(zip(batch, scores))
        yield from (scores_by_number[number] for number in range(len(chunk)))


def room(size: int, limit: int) -> int:
    """The smallest of 8, 32, 128, ... that holds `size` tokens, and `limit` at most."""
    size_of_room = FIRST_ROOM
    while size_of_room < size:
        size_of_room *= GROWTH
    return min(size_of_room, limit)


def _rooms(row: Row, shape: Shape) -> tuple[int, int]:
    if shape.fixed:
        return shape.limits
    lengths = zip((len(row.given), len(row.target)), shape.limits)
    given, target = (room(length, limit) for length, limit in lengths)
    return given, target


def _batch(
    program: Program, params: PyTree, rows: Sequence[Row], rooms: tuple[int, int], shape: Shape
) -> list[Score]:
    given = padded([row.given for row in rows], (shape.rows, rooms[0]), left=shape.left)
    target = padded([row.target for row in rows], (shape.rows, rooms[1]), left=False)
    arrays: Any = jax.device_get(program(params, *given, *target))
    nats_BT, greedy_BT = arrays
    return [
        Score(nats_BT[index, : len(row.target)], greedy_BT[index, : len(row.target)])
        for index, row in enumerate(rows)
    ]
