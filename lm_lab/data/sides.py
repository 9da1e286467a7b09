"""The splits that a source itself states: training, held-out, test."""

from typing import TypeVar

from lm_lab.data.faults import Errors
from lm_lab.types import Side

T = TypeVar("T")


def given(
    train: T, heldout: T | None, test: T | None, key: str = "path"
) -> list[tuple[str, T, Side | None]]:
    """(setting, value, split of its documents) of each setting that is given. The split of `train`
    is None if the source states no other split.
    """
    settings: list[tuple[str, T, Side | None]] = [
        (key, train, None if heldout is None else "train")
    ]
    if heldout is not None:
        settings.append((f"heldout_{key}", heldout, "heldout"))
    if test is not None:
        settings.append((f"test_{key}", test, "test"))
    return settings


def unless_refused(errors: Errors) -> list[str]:
    """The part of a fingerprint for `errors`; [] for its default, so that older fingerprints
    stay.
    """
    return [] if errors == "refuse" else [errors]
