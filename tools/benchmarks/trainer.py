"""The compiled program of `lm-lab train` without its loop, for parts that time its calls."""

from ml_collections import ConfigDict

from lm_lab.config import resolve
from lm_lab.engine.step import Metrics
from lm_lab.train.compiled import compile_program
from lm_lab.train.task import bind
from lm_lab.types import Examples


class Trainer:
    """A run of a config before its first step: its program, its state and the examples of a call.
    The first call compiles.
    """

    def __init__(self, config: ConfigDict) -> None:
        task = bind(*resolve(config))
        self.experiment, self.program = task.experiment, compile_program([task])
        self.state = self.program.start()
        self.examples = self.read(0)

    @property
    def steps(self) -> int:
        """The steps of a call."""
        return self.experiment.train.steps_per_call

    def read(self, call: int) -> Examples:
        """The examples of a call, counted from 0, by the loader."""
        return self.program.engine.batch(call * self.steps, self.steps, self.state)

    def call(self) -> Metrics:
        """Trains a call on the examples, and does not wait for its metrics."""
        self.state, metrics = self.program.engine.step(self.state, self.examples)
        return metrics
