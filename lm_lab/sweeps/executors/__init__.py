"""Where the runs of a sweep are computed, one executor per file."""

from collections.abc import Callable, Mapping, Sequence

from lm_lab import registry
from lm_lab.contracts import Unit, UnitCosts, UnitRunner
from lm_lab.schema import build

MakeRunner = Callable[[str, UnitCosts], UnitRunner]
"""(platform of this machine's devices: cpu, gpu or tpu; costs of the units) -> where they run."""


def choose(name: str, settings: Mapping[str, object]) -> MakeRunner:
    """The executor of a name, or dotted path, with these settings. Raises UserError for one that
    does not exist, or a wrong setting.
    """
    executor = registry.load("sweeps.executors", name, "executor")
    config = build(executor.Config, settings, "executor")

    def make(platform: str, costs: UnitCosts) -> UnitRunner:
        return executor.make(executor.resolve(config, platform, costs), platform)

    return make


def next_ready(waiting: Sequence[Unit], is_idle: bool) -> Unit | None:
    """The first unit that may begin; None where all wait for files of units that run. Where no unit
    runs (`is_idle`), nobody will write these files, and the first begins, to say what it misses.
    """
    for unit in waiting:
        if all(file.exists() for file in unit.after):
            return unit
    return waiting[0] if waiting and is_idle else None
