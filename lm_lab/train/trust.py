"""Whose code a stored folder may run.

Modules of outside packages are named by dotted path, and naming one imports it, which runs it. A
config file or a study that is launched is code of the user's own. A config.json or sweep.json is
data that may come from anybody: what it names outside lm_lab is imported only if the reader trusts
its package by name (`--trust=my_research`).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lm_lab.registry import is_outside
from lm_lab.train.sections import Values, modules
from lm_lab.types import UserError

OWN = "lm_lab"
RUNNING = "__main__"  # the program or notebook that runs: naming it runs nothing
Named = tuple[
    str, Any
]  # (key, name of a module), as ("config.model.family", "my_research.models.decoder")

_TRUSTED: ContextVar[frozenset[str]] = ContextVar(
    "trusted packages", default=frozenset([OWN, RUNNING])
)


@contextmanager
def trusting(packages: Iterable[str]) -> Iterator[None]:
    """Within the block stored files may also name code of these packages: "my_research" is all of
    my_research.
    """
    before = _TRUSTED.set(_TRUSTED.get().union(packages))
    try:
        yield
    finally:
        _TRUSTED.reset(before)


def trusted() -> set[str]:
    """The packages, lm_lab aside, whose code stored files may name here."""
    return set(_TRUSTED.get() - {OWN, RUNNING})


def check(values: Values, file: Path) -> None:
    """Raises UserError where the config that a file holds names code that is not trusted."""
    check_names(names_of(values), file)


def check_names(named: Iterable[Named], file: Path) -> None:
    """Raises UserError for the first dotted name of a package that is not trusted; a name may be
    anything.
    """
    for key, name in named:
        if (
            isinstance(name, str)
            and is_outside(name)
            and not any(_within(name, own) for own in _TRUSTED.get())
        ):
            raise UserError(
                f"{file}: {key} names {name!r}, and a stored file runs no code of other "
                "packages unasked; if you "
                f"trust that package, give --trust={_package(name)}"
            )


def packages(values: Values) -> set[str]:
    """The outside packages that a config names."""
    return packages_of(name for _, name in names_of(values))


def packages_of(names: Iterable[Any]) -> set[str]:
    """The outside packages of modules' names."""
    return {_package(str(name)) for name in names if is_outside(str(name))} - {OWN}


def names_of(values: Values) -> list[Named]:
    """All that a config names modules by."""
    train = values.get("train")
    exams = train.get("also_evaluate") if isinstance(train, dict) else None
    also = (
        [("config.train.also_evaluate", name) for name in exams]
        if isinstance(exams, (list, tuple))
        else []
    )
    return [(f"config.{key}", name) for key, name in modules(values).items()] + also


def _package(name: str) -> str:
    """The package of a module's name, as my_research of my_research.losses:FOCAL."""
    return name.partition(":")[0].partition(".")[0]


def _within(name: str, package: str) -> bool:
    return f"{name.partition(':')[0]}.".startswith(f"{package}.")
