"""The modules that a config names, and whether their packages are trusted (runs/trust.py)."""

from collections.abc import Iterator
from pathlib import Path

from lm_lab.runs.trust import Named, check_names, packages_of
from lm_lab.train.sections import Values, modules


def check(values: Values, file: Path) -> None:
    """Raises UserError where the config that a file holds names code that is not trusted."""
    check_names(names_of(values), file)


def packages(values: Values) -> set[str]:
    """The outside packages that a config names."""
    return packages_of(name for _, name in names_of(values))


def names_of(values: Values) -> Iterator[Named]:
    """The module names in a config; sections.modules says when each is imported."""
    train = values.get("train")
    also = train.get("also_evaluate") if isinstance(train, dict) else None
    for name in also if isinstance(also, (list, tuple)) else ():
        yield "config.train.also_evaluate", name
    for key, name in modules(values):
        yield f"config.{key}", name
