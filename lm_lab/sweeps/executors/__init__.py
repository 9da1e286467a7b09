"""Where the runs of a sweep are computed, one executor per file."""

import functools
from collections.abc import Callable, Mapping, Sequence

from lm_lab import registry
from lm_lab.contracts import Unit, UnitRunner
from lm_lab.schema import build


def choose(name: str, settings: Mapping[str, object]) -> Callable[[str], UnitRunner]:
    """The executor of a name, or dotted path, with these settings: a function of the platform of
    this machine's devices. Raises UserError for one that does not exist, or a wrong setting.
    """
    executor = registry.load("sweeps.executors", name, "executor")
    return functools.partial(executor.make, build(executor.Config, settings, "executor"))


def next_ready(waiting: Sequence[Unit], is_idle: bool) -> Unit | None:
    """The first unit that may begin; None where all wait for files of units that run. Where no unit
    runs (`is_idle`), nobody will write these files, and the first begins, to say what it misses.
    """
    for unit in waiting:
        if all(file.exists() for file in unit.after):
            return unit
    return waiting[0] if waiting and is_idle else None
