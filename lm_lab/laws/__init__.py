"""The laws of each kind of extension, as functions that raise Broken where a law is violated.

Each file has the laws of one kind. Each takes a subject, which is a module's value with its
settings, tried on tiny shapes: `laws.models.causality(laws.models.Subject(FAMILY, cfg))`. `lm-lab
check` runs all that apply, and a test of a package of one's own may call any.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from lm_lab import schema
from lm_lab.types import PyTree, UserError

T = TypeVar("T")

TOLERANCE = 1e-5
"""By which equal arrays may differ, as a share of the largest entry: two orders of the same float32
sums differ by some rounding errors of 6e-8.
"""


class Broken(AssertionError):
    """A law is violated: the observation, its size, and the remedy."""


class Finding(NamedTuple):
    """The outcome of one law."""

    law: str
    statement: str
    fault: str | None  # None: it holds


def check(laws: Sequence[Callable[[T], None]], subject: T) -> Iterator[Finding]:
    """A finding for each law, up to the first one in which the module raises: later laws would fail
    by the same error.
    """
    for law in laws:
        statement = _first_sentence(law.__doc__ or "")
        try:
            law(subject)
        except Broken as broken:
            yield Finding(law.__name__, statement, _line(str(broken)))
        except UserError as error:
            yield Finding(law.__name__, statement, _line(str(error)))
            return
        except Exception as error:  # noqa: BLE001 - whatever a module raises is reported to its author
            fault = f"it raises {type(error).__name__}: {error}"
            yield Finding(law.__name__, statement, _line(fault))
            return
        else:
            yield Finding(law.__name__, statement, None)


def tiny(config: type[T], sizes: Mapping[str, object], given: Mapping[str, object]) -> T:
    """Settings with these sizes, where the class has fields of these names, and with those `given`.
    Raises UserError for settings that the class refuses or misses.
    """
    names = {key.key.partition(".")[0] for key in schema.keys(config, {})}
    values = {name: size for name, size in sizes.items() if name in names} | dict(given)
    return schema.build(config, values, "settings")


def expect(holds: bool, fault: str) -> None:
    """Raises Broken with the fault, unless the law holds."""
    if not holds:
        raise Broken(fault)


def distance(one: PyTree, other: PyTree) -> float:
    """The largest difference of two trees of arrays, as a share of the largest entry of its array;
    infinite where shapes differ or an entry is no number.
    """
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max((_distance(a, b) for a, b in pairs), default=0.0)


def shifts_of(one_BLV: jax.Array, other_BLV: jax.Array) -> np.ndarray:
    """f64[L]: the largest difference at each token, as a share of the largest logit."""
    one, other = np.asarray(one_BLV, np.float64), np.asarray(other_BLV, np.float64)
    difference = np.nan_to_num(np.abs(one - other), nan=np.inf, posinf=np.inf)
    return difference.max((0, 2)) / max(float(np.abs(other).max()), 1e-30)


def _distance(one: Any, other: Any) -> float:
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if a.shape != b.shape or not np.isfinite(a).all() or not np.isfinite(b).all():
        return float("inf")
    return float(np.abs(a - b).max(initial=0.0) / max(np.abs(b).max(initial=0.0), 1e-30))


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).partition(". ")[0].removesuffix(".")


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:297]}..."
