"""Whose code a stored folder may run.

Modules of outside packages are named by dotted path, and naming one imports it, which runs it. A config file or a study
that is launched is code of the user's own. A config.json or sweep.json is data that may come from anybody: what it
names outside lm_lab is imported only if the reader trusts its package by name (`--trust=my_research`).
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from lm_lab.train.sections import Values, choice
from lm_lab.types import UserError

Trust = Collection[str]
"""Names of packages, or of modules in them, whose code may run: "my_research" holds for my_research.models.decoder."""

OWN = "lm_lab"
Named = tuple[str, Any]  # (key, name of a module), as ("config.model.family", "my_research.models.decoder")


def check(values: Values, trust: Trust, file: Path) -> None:
    """Raises UserError where the config that a file holds names code that is not trusted."""
    check_names(names_of(values), trust, file)


def check_names(named: Iterable[Named], trust: Trust, file: Path) -> None:
    """Raises UserError for the first dotted name that is outside lm_lab, and not trusted; a name may be anything."""
    for key, name in named:
        if isinstance(name, str) and "." in name and not any(_within(name, own) for own in (OWN, *trust)):
            package = name.partition(".")[0] or name
            raise UserError(
                f"{file}: {key} names {name!r}, and a stored file runs no code of other packages unasked; if you "
                f"trust that package, give --trust={package}"
            )


def packages(values: Values) -> set[str]:
    """The outside packages that a config names."""
    dotted = {str(name) for _, name in names_of(values) if "." in str(name)}
    return {name.partition(".")[0] for name in dotted} - {OWN}


def names_of(values: Values) -> list[Named]:
    """All that a config names modules by."""
    train = values.get("train")
    exams = train.get("also_examine") if isinstance(train, dict) else None
    also = [("config.train.also_examine", name) for name in exams] if isinstance(exams, (list, tuple)) else []
    return [(f"config.{key}", name) for key, name in choice(values)] + also


def _within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")
