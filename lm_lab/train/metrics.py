"""The metrics of a run: those that its objective asks for, prepared before training."""

import json
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from lm_lab import registry
from lm_lab.contracts import EvaluationData, MetricFunction
from lm_lab.data import loader
from lm_lab.schema import build
from lm_lab.train.experiment import Experiment
from lm_lab.types import Examples, PyTree


class Prepared(NamedTuple):
    """A metric that is ready to be taken."""

    measure: MetricFunction  # of one run's parameters
    always: bool  # at every evaluation, and not only at the end


def prepare(experiment: Experiment, dataset: loader.Dataset) -> list[Prepared]:
    """The metrics of an experiment, by its objective. Raises UserError for one that cannot be taken
    of it.
    """
    data = _evaluation_data(experiment, dataset)
    prepared, where = [], f"config.objective.name {experiment.objective_name!r}"
    for choice in experiment.objective_contract.metrics(experiment.objective):
        metric = registry.load("evaluation.metrics", choice.name, f"metrics of {where}")
        settings = build(metric.Config, choice.settings, f"metric {choice.name} of {where}")
        prepared.append(Prepared(metric.prepare(settings, data), choice.always))
    return prepared


def measure(metrics: Sequence[Prepared], params: PyTree, at_end: bool) -> dict[str, float]:
    """The values of the metrics that are due, by name."""
    values: dict[str, float] = {}
    for metric in metrics:
        if at_end or metric.always:
            values |= metric.measure(params)
    return values


def _evaluation_data(experiment: Experiment, dataset: loader.Dataset) -> EvaluationData:
    contract, vocabulary = experiment.objective_contract, experiment.vocabulary()
    window, stride = experiment.window()

    def heldout(rows: int, most_batches: int) -> Examples:
        batches = loader.cut(
            experiment.data, dataset.heldout, window=window, stride=stride, batch_size=rows, seed=0
        )
        return loader.exam(batches, most_batches)

    def targets() -> list[str]:
        return [json.loads(line)["target"] for line in dataset.texts.read_text().splitlines()]

    prompt = contract.prompt
    return EvaluationData(
        experiment.build_model(),
        dataset.tokenizer,
        vocabulary,
        experiment.data.length,
        experiment.precision.compute,
        heldout,
        targets,
        experiment.train.batch_size,
        None if prompt is None else partial(prompt, experiment.objective, vocabulary),
    )
