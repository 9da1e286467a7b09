"""Packages that only some settings need."""

import importlib
import importlib.util
from typing import Any

from lm_lab.types import UserError


def imported(package: str, extra: str, where: str) -> Any:
    """The package. Raises UserError, which begins with `where` and names lm_lab's extra that brings
    it, if it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f'{where} needs the package {package}; install it with pip install "lm_lab[{extra}]"'
        )
    return importlib.import_module(package)
