"""A run to be trained."""

from pathlib import Path
from typing import Any, NamedTuple

from lm_lab.train.experiment import Experiment


class Run(NamedTuple):
    """A run to be trained, and where."""

    experiment: Experiment
    resolved: dict[str, Any]  # the config as plain values, complete
    directory: Path
