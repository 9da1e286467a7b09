"""Where the runs of a sweep are computed, one executor per file."""

import functools
from collections.abc import Callable, Mapping

from lm_lab import registry
from lm_lab.contracts import UnitRunner
from lm_lab.schema import build


def choose(name: str, settings: Mapping[str, object]) -> Callable[[str], UnitRunner]:
    """The executor of a name, or dotted path, with these settings: a function of the platform of
    this machine's devices. Raises UserError for one that does not exist, or a wrong setting.
    """
    executor = registry.load("sweeps.executors", name, "executor")
    return functools.partial(executor.make, build(executor.Config, settings, "executor"))
