"""The modules that a stored config names, and whether their packages are trusted (runs/trust.py)."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lm_lab.runs.trust import Named, check_names, packages_of
from lm_lab.schema import keys
from lm_lab.train.sections import Config, Values, modules
from lm_lab.types import UserError


def check(values: Values, file: Path) -> None:
    """Raises UserError where the config that a file holds names code that is not trusted."""
    check_names(_at_the_top(values), file)
    check_names(_nested(values), file)


def packages(values: Values) -> set[str]:
    """The outside packages that a config names."""
    return packages_of(name for names in (_at_the_top, _nested) for _, name in names(values))


def _at_the_top(values: Values) -> list[Named]:
    """The modules that the sections of a config name."""
    train = values.get("train")
    exams = train.get("also_evaluate") if isinstance(train, dict) else None
    also = (
        [("config.train.also_evaluate", name) for name in exams]
        if isinstance(exams, (list, tuple))
        else []
    )
    return [(f"config.{key}", name) for key, name in modules(values).items()] + also


def _nested(values: Values) -> Iterator[Named]:
    """All that a config names, also in the settings of what it names.

    What settings a module has is known once it is imported, which happens after its name was
    yielded: whoever checks names one by one, imports none that is not trusted. Ends at a config
    that is wrong, as its reader does.
    """
    with contextlib.suppress(UserError):
        for key in keys(Config, values):
            if "modules" in key.field.metadata or "options" in key.field.metadata:
                yield f"config.{key.key}", _name(values, key.key.split("."))


def _name(values: Any, path: list[str]) -> Any:
    """The name of a choice, which may stand alone in the place of its settings."""
    for step in path:
        if not isinstance(values, Mapping):
            return values
        values = values.get(step)
    return values
