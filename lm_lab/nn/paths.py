"""Patterns that choose among the paths of parameters."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from lm_lab.types import UserError


def chosen(patterns: Sequence[str], paths: Iterable[str], where: str) -> set[str]:
    """The paths that a pattern matches; * and ? are wildcards. A pattern is a whole path, the end
    of one, or a folder above it.

    "query", "attention/query" and "layers/attention" all match layers/attention/query. Raises
    UserError for a pattern that matches none; `where` names the setting.
    """
    paths = set(paths)
    matched: set[str] = set()
    for pattern in patterns:
        matches_of_pattern = {path for path in paths if matches(pattern, path)}
        if not matches_of_pattern:
            raise UserError(
                f"{where}: no parameters match {pattern!r}; choose among {', '.join(sorted(paths))}"
            )
        matched |= matches_of_pattern
    return matched


def matches(pattern: str, path: str) -> bool:
    """Whether the pattern matches the path, as `chosen` explains."""
    parts = path.split("/")
    folders = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return any(
        fnmatchcase(folder, form) for folder in folders for form in (pattern, f"*/{pattern}")
    )
