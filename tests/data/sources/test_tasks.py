"""Tasks by seed: every answer is right by an independent computation, floors are exact."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from lm_lab.data.sources import (
    arithmetic,
    associative_recall,
    copying,
    dyck,
    list_operations,
)
from lm_lab.types import UserError

TASKS = [arithmetic, associative_recall, copying, dyck, list_operations]


@pytest.mark.parametrize("task", TASKS)
def test_documents_are_repeatable_and_more_only_add_to_them(task):
    def read(count, seed=0):
        return list(task.SOURCE.documents(task.Config(documents=count, task_seed=seed)))

    assert read(600)[:520] == read(520)
    assert read(20) != read(20, seed=1)
    assert len({document.name for document in read(600)}) == 600
    prints = {task.SOURCE.fingerprint(task.Config(documents=count)) for count in (20, 20, 21)}
    assert len(prints) == 2


@pytest.mark.parametrize("reverse", [False, True])
def test_copies(reverse):
    config = copying.Config(symbols=3, shortest=2, longest=4, reverse=reverse, documents=300)
    pairs = [(document.text, document.target) for document in copying.SOURCE.documents(config)]
    assert all(target == (text[::-1] if reverse else text) for text, target in pairs)
    assert {len(text) for text, _ in pairs} == {2, 3, 4}
    assert {letter for text, _ in pairs for letter in text} == set("abc")


def test_answers_are_the_values_of_their_keys():
    config = associative_recall.Config(keys=5, values=4, pairs=3, queries=2, documents=300)
    for document in associative_recall.SOURCE.documents(config):
        pairs = [(document.text[at], document.text[at + 1]) for at in range(0, 10, 2)]
        given, asked = dict(pairs[:3]), pairs[3:]
        assert len(given) == 3
        assert all(given[key] == value for key, value in asked)
        assert len(document.text) == associative_recall.document_characters(config)


def test_the_floor_of_recall_is_the_entropy_of_its_documents():
    config = associative_recall.Config(keys=3, values=2, pairs=2, queries=1, documents=10_000)
    counts = Counter(document.text for document in associative_recall.SOURCE.documents(config))
    # 3 * 2 keys in order, 2 * 2 values, 2 queries: all as likely
    assert associative_recall.floor_bits(config) == math.log2(48)
    assert len(counts) == 48
    assert (
        max(abs(count / 10_000 - 1 / 48) for count in counts.values())
        < 5 * (1 / 48 / 10_000) ** 0.5
    )


def test_many_keys_are_ideographs():
    config = associative_recall.Config(keys=600, values=600, pairs=64, queries=64, documents=2)
    text = next(iter(associative_recall.SOURCE.documents(config))).text
    assert len(text) == 256
    assert all(len(letter.encode()) == 3 for letter in text)


def evaluate(symbols):
    """The value of the list at the beginning of the symbols, by a stack."""
    stack = []
    for symbol in symbols:
        if symbol != "]":
            stack.append(symbol if symbol.startswith("[") else int(symbol))
            continue
        values = []
        while not isinstance(stack[-1], str):
            values.append(stack.pop())
        ordered, name = sorted(values), stack.pop()
        half = len(values) // 2
        median = ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) // 2
        found = {"[MIN": ordered[0], "[MAX": ordered[-1], "[MED": median, "[SM": sum(values) % 10}
        stack.append(found[name])
    (value,) = stack
    return value


def test_values_of_lists():
    config = list_operations.Config(documents=500, depth=4, shortest=6, longest=40)
    for document in list_operations.SOURCE.documents(config):
        symbols = document.text.split()
        assert evaluate(symbols) == document.label
        assert 6 <= len(symbols) <= 40
    assert 0.1 < list_operations.majority(config) < 0.3


def test_lists_of_impossible_lengths():
    config = list_operations.Config(depth=1, arguments=2, shortest=9, longest=10)
    with pytest.raises(UserError, match=r"have no length of 9 to 10"):
        next(iter(list_operations.SOURCE.documents(config)))


@pytest.mark.parametrize("operation", ["+", "-", "*"])
def test_answers_of_arithmetic(operation):
    config = arithmetic.Config(operation=operation, documents=500, digits=4)
    reverse = arithmetic.Config(operation=operation, documents=500, digits=4, reverse=True)
    for document, other in zip(
        arithmetic.SOURCE.documents(config), arithmetic.SOURCE.documents(reverse)
    ):
        first, second = document.text.removesuffix("=").split(operation)
        expected = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[operation]
        assert document.target == str(expected(int(first), int(second)))
        assert (other.text, other.target) == (document.text, (document.target or "")[::-1])


def balanced(text, kinds, depth):
    pending = []
    for letter in text:
        if letter in dyck.OPENING[:kinds]:
            pending.append(letter)
        elif not pending or dyck.OPENING.index(pending.pop()) != dyck.CLOSING.index(letter):
            return False
        if len(pending) > depth:
            return False
    return not pending


def test_brackets_are_balanced_and_every_string_is_as_likely():
    config = dyck.Config(kinds=2, depth=2, brackets=6, documents=10_000)
    letters = dyck.OPENING[:2] + dyck.CLOSING[:2]
    every = {"".join(text) for text in itertools.product(letters, repeat=6) if balanced(text, 2, 2)}
    counts = Counter(document.text for document in dyck.SOURCE.documents(config))
    assert set(counts) == every
    assert dyck.floor_bits(config) == pytest.approx(math.log2(len(every)), abs=1e-12)
    chance = 1 / len(every)
    deviations = [count / 10_000 - chance for count in counts.values()]
    assert np.abs(deviations).max() < 5 * (chance / 10_000) ** 0.5


def test_without_a_bound_the_shapes_are_catalan():
    assert [dyck._shapes(2 * n, n)[2 * n][0] for n in range(1, 8)] == [1, 2, 5, 14, 42, 132, 429]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dyck.Config(brackets=7), "brackets must be even"),
        (lambda: copying.Config(shortest=9, longest=8), "shortest 9 is above longest 8"),
        (lambda: list_operations.Config(shortest=9, longest=8), "shortest 9 is above longest 8"),
        (lambda: associative_recall.Config(pairs=40), "queries 8 must be at most pairs 40"),
        (lambda: associative_recall.Config(keys=8000, values=800), "at most 8192 together"),
    ],
)
def test_settings_that_make_no_sense(make, message):
    with pytest.raises(UserError, match=message):
        make()
