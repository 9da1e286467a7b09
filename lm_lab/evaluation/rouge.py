"""ROUGE (Lin 2004, W04-1013) of any script: F1 of n-grams in common, and of the longest common
subsequence.

The usual package (rouge_score) drops every character outside a-z and 0-9, so that Korean scores
0.0. Words are here runs of letters, marks and digits by Unicode, in lower case and NFC; on English
text the values are those of rouge_score without its stemmer. A word of Korean carries its
particles, so that a summary may share few whole words with its reference: `by="characters"` counts
the letters, marks and digits themselves.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal

Unit = Literal["words", "characters"]


def units(text: str, by: Unit) -> list[str]:
    """The units of a text, of which n-grams are made.

    >>> units("They've 2 cats.", "words"), units("밥을 먹다", "characters")
    (['they', 've', '2', 'cats'], ['밥', '을', '먹', '다'])
    """
    folded = unicodedata.normalize("NFC", text).lower()
    letters = "".join(
        character if unicodedata.category(character)[0] in "LMN" else " " for character in folded
    )
    return letters.split() if by == "words" else list("".join(letters.split()))


def rouge_n(written: str, target: str, size: int, by: Unit = "words") -> float:
    """F1 of the n-grams of `size` units that two texts have in common."""
    counts = [_grams(units(text, by), size) for text in (written, target)]
    return _f1((counts[0] & counts[1]).total(), *(grams.total() for grams in counts))


def rouge_l(written: str, target: str, by: Unit = "words") -> float:
    """F1 of the longest common subsequence of units of two texts."""
    one, other = units(written, by), units(target, by)
    return _f1(_common(one, other), len(one), len(other))


def _grams(sequence: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(sequence[i : i + size]) for i in range(len(sequence) - size + 1))


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for item in one:
        diagonal = 0
        for column, other_item in enumerate(other, 1):
            above = row[column]
            row[column] = diagonal + 1 if item == other_item else max(above, row[column - 1])
            diagonal = above
    return row[-1]


def _f1(common: int, written: int, target: int) -> float:
    return 2 * common / (written + target) if common else 0.0
