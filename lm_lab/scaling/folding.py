"""Joins many refusals or cautions of one kind: 240 budgets of one run each need not take 240
lines.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from lm_lab.scaling.records import Caution, Refusal

MOST = 8  # of a kind that are listed one by one
NoteT = TypeVar("NoteT", Refusal, Caution)


def folded(notes: Sequence[NoteT]) -> tuple[NoteT, ...]:
    """The notes, in order; of a kind with more than MOST, only the first is kept, and it says how
    many more there are.
    """
    kinds = [note.kind for note in notes]
    shown: list[NoteT] = []
    for kind in dict.fromkeys(kinds):
        first, *further = [note for note in notes if note.kind == kind]
        if len(further) < MOST:
            shown += [first, *further]
            continue
        message = f"{first.message} (and {len(further)} more of this kind, to {further[-1].where})"
        shown.append(replace(first, message=message))
    return tuple(shown)
