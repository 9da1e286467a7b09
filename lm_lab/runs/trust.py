"""Whose code a stored file may run.

Modules of outside packages are named by dotted path, and naming one imports it, which runs it. A
config file or a study that is launched is the user's own code. A config.json or sweep.json is data
that may come from anybody: what it names outside lm_lab is imported only if the reader trusts its
package by name (`--trust=my_research`).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lm_lab.schema import is_outside
from lm_lab.types import UserError

LM_LAB = "lm_lab"
RUNNING = "__main__"  # the program or notebook that runs: naming it runs nothing
Named = tuple[str, Any]  # (key, name of a module): ("config.model.family", "my_research.decoder")

_TRUSTED: ContextVar[frozenset[str]] = ContextVar(
    "trusted packages", default=frozenset([LM_LAB, RUNNING])
)


@contextmanager
def trusting(packages: Iterable[str]) -> Iterator[None]:
    """Within the block stored files may also name code of these packages, in any depth."""
    before = _TRUSTED.set(_TRUSTED.get().union(packages))
    try:
        yield
    finally:
        _TRUSTED.reset(before)


def trusted_packages() -> set[str]:
    """The packages, lm_lab aside, whose code stored files may name here."""
    return set(_TRUSTED.get() - {LM_LAB, RUNNING})


def check_names(named: Iterable[Named], file: Path) -> None:
    """Raises UserError for the first dotted name in a package that is not trusted.

    A name may be anything: only texts are looked at.
    """
    for key, name in named:
        if isinstance(name, str) and is_outside(name) and not _is_trusted(name):
            raise UserError(
                f"{file}: {key} names {name!r}, and a stored file runs no code of other packages "
                f"unasked; if you trust that package, give --trust={_package(name)} "
                f"(in Python trust=[{_package(name)!r}])"
            )


def packages_of(names: Iterable[Any]) -> set[str]:
    """The outside packages of modules' names."""
    return {_package(str(name)) for name in names if is_outside(str(name))} - {LM_LAB}


def _package(name: str) -> str:
    """The package of a module's name: my_research of my_research.losses:FOCAL."""
    return name.partition(":")[0].partition(".")[0]


def _is_trusted(name: str) -> bool:
    module = name.partition(":")[0]
    return any(f"{module}.".startswith(f"{package}.") for package in _TRUSTED.get())
