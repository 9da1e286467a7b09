"""The metrics of a run: prepared before training, then computed from its parameters."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lm_lab import registry
from lm_lab.contracts import EvaluationData, MetricChoice, MetricFunction
from lm_lab.schema import build
from lm_lab.train.eval_sets import is_test, with_ending
from lm_lab.types import PyTree


class Prepared(NamedTuple):
    """A metric whose files are read and checked."""

    measure: MetricFunction  # of the parameters of one run
    always: bool  # at every evaluation, and not only at the end


def prepare(
    choices: Sequence[MetricChoice], data: EvaluationData, objective: str
) -> list[Prepared]:
    """The metrics that an objective asks for, by its name in errors. Raises UserError for one that
    does not exist, or cannot be computed on the data.
    """
    prepared = []
    for choice in choices:
        where = f"metric {choice.name!r} of config.objective.name {objective!r}"
        metric = registry.load("evaluation.metrics", choice.name, where)
        settings = build(metric.Config, choice.settings, where)
        prepared.append(Prepared(metric.prepare(settings, data), choice.always))
    return prepared


def measure_all(
    metrics: Mapping[str, Sequence[Prepared]], evaluated: Mapping[str, PyTree], at_end: bool
) -> dict[str, dict[str, float]]:
    """The values of the metrics that are due, by evaluation, for parameters by the ending of its
    name ("_average"). Those of the test are due at the end.
    """
    return {
        with_ending(evaluation, ending): measure(prepared, params, at_end)
        for ending, params in evaluated.items()
        for evaluation, prepared in metrics.items()
        if at_end or not is_test(evaluation)
    }


def measure(metrics: Sequence[Prepared], params: PyTree, at_end: bool) -> dict[str, float]:
    """The values of the metrics that are due, by name."""
    values: dict[str, float] = {}
    for metric in metrics:
        if at_end or metric.always:
            values |= metric.measure(params)
    return values
