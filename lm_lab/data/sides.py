"""The sides of the data that a source states: trained on, held out, kept for the test."""

from typing import TypeVar

from lm_lab.data.faults import Errors
from lm_lab.types import Side

T = TypeVar("T")


def given(
    train: T, heldout: T | None, test: T | None, key: str = "path"
) -> list[tuple[str, T, Side | None]]:
    """(setting, value, side of its documents) of each side that is given. The side of the training
    text is None where nothing says what is held out.
    """
    found: list[tuple[str, T, Side | None]] = [(key, train, None if heldout is None else "train")]
    if heldout is not None:
        found.append((f"heldout_{key}", heldout, "heldout"))
    if test is not None:
        found.append((f"test_{key}", test, "test"))
    return found


def unless_refused(errors: Errors) -> list[str]:
    """What `errors` adds to a fingerprint: nothing where it leaves the documents as they are."""
    return [] if errors == "refuse" else [errors]
