"""The text that evaluates runs: batches of the held-out text of each source, and all of its
test.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lm_lab.data.contiguous import ContiguousBatches
from lm_lab.data.loader import AnyBatches, batched
from lm_lab.data.mixture import together
from lm_lab.types import Examples, Sums

HELDOUT, TEST = "heldout", "test"
TEST_BATCHES = 32  # at most, in one call of the compiled program


class EvalSet(NamedTuple):
    """The held-out batches of a source."""

    label: str  # of the source; "" for the only one
    share: float  # of the source in a batch, with the weights of the end of training
    examples: Examples  # [n B ...]


class WholeTest(NamedTuple):
    """The test of a source: every row once."""

    label: str
    share: float
    rows: AnyBatches

    def chunks(self) -> Iterator[Examples]:
        """All rows in order [n B ...], in parts of one shape; the last part is filled up with empty
        rows. Rows that read on are one part, because a state is carried through it.
        """
        size = self.rows.batch_size
        batches = math.ceil(self.rows.every_row() / size)
        reads_on = isinstance(self.rows, ContiguousBatches)
        part = batches if reads_on else min(TEST_BATCHES, batches)
        for first in range(0, batches, part):
            yield batched(self.rows.once(first * size, part * size), size)


def of_mixture(
    sets: Sequence[EvalSet | WholeTest], sums: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The sums of evaluations by name, given those on the set of each source: those of the mixture
    as NAME, and of each source as NAME/LABEL. With one source they are returned unchanged.
    """
    if not sets[0].label:
        return dict(sums[0])
    shares = [each.share for each in sets]
    names = list(sums[0])
    whole = {name: together([of_set[name] for of_set in sums], shares) for name in names}
    return whole | {
        f"{name}/{each.label}": of_set[name] for each, of_set in zip(sets, sums) for name in names
    }


def add_up(parts: Iterable[Mapping[str, Sums]]) -> dict[str, Any]:
    """The sums of evaluations by name, added over parts of the text in float64."""
    total: dict[str, dict[str, float]] = {}
    for name, sums in itertools.chain.from_iterable(part.items() for part in parts):
        added = total.setdefault(name, {})
        for key, value in sums.items():
            added[key] = added.get(key, 0.0) + float(value)
    return total


def is_test(evaluation: str) -> bool:
    """Whether an evaluation is of the test."""
    return evaluation.partition("/")[0] == TEST


def with_ending(evaluation: str, ending: str) -> str:
    """The name of an evaluation of other parameters: "heldout_average/ko" for "heldout/ko"."""
    name, slash, label = evaluation.partition("/")
    return f"{name}{ending}{slash}{label}"


def test_name(name: str) -> str:
    """The name on the test of an evaluation of held-out text: "test" for "heldout", "test_average"
    for "heldout_average", "test_masked" for "masked".
    """
    evaluation, _, label = name.partition("/")
    evaluation = (
        TEST + evaluation.removeprefix(HELDOUT)
        if evaluation.startswith(HELDOUT)
        else f"{TEST}_{evaluation}"
    )
    return f"{evaluation}/{label}" if label else evaluation
