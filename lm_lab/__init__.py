"""Which architecture is better, at what compute, and how does it scale?

The public names are imported when they are first used, so that `import lm_lab` is quick and touches
no device. docs/library.md is the guide.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_lab.library.configs import init_params, load_config, make_model
    from lm_lab.library.laws import Law, fit
    from lm_lab.library.runs import Run, open_run
    from lm_lab.library.studies import Sweep, open_sweep, run_study
    from lm_lab.library.tasks import Task, bind, make_program
    from lm_lab.library.training import train_run
    from lm_lab.sweeps.study import Study
    from lm_lab.sweeps.tables import results
    from lm_lab.types import Inputs, UserError

__all__ = [
    "Inputs",
    "Law",
    "Run",
    "Study",
    "Sweep",
    "Task",
    "UserError",
    "bind",
    "fit",
    "init_params",
    "load_config",
    "make_model",
    "make_program",
    "open_run",
    "open_sweep",
    "results",
    "run_study",
    "train_run",
]

_MODULES = {
    "library.configs": ("init_params", "load_config", "make_model"),
    "library.laws": ("Law", "fit"),
    "library.runs": ("Run", "open_run"),
    "library.studies": ("Sweep", "open_sweep", "run_study"),
    "library.tasks": ("Task", "bind", "make_program"),
    "library.training": ("train_run",),
    "sweeps.study": ("Study",),
    "sweeps.tables": ("results",),
    "types": ("Inputs", "UserError"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"lm_lab.{module}"), name)
    raise AttributeError(f"module 'lm_lab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
