"""What is measured once of a trained model, beside its likelihood: texts that it writes, the order
of its values.
"""

import json
from collections.abc import Callable

import jax

from lm_lab.data import loader
from lm_lab.evaluation import correlation, pseudo_likelihood, transduction, vectors
from lm_lab.train.experiment import Experiment
from lm_lab.types import Examples, PyTree, UserError

ROWS = 128  # records at once

Measure = Callable[[PyTree], dict[str, float]]


def prepare(experiment: Experiment, dataset: loader.Dataset) -> Measure | None:
    """A function of the parameters that gives the measures of the held-out records; None where none
    is to be taken.
    """
    module = experiment.objective_contract
    if module.prompt is not None and getattr(experiment.objective, "measures", ()):
        return _transduction(experiment, dataset, module.prompt)
    if getattr(experiment.objective, "pseudo_batches", 0):
        return _pseudo_likelihood(experiment, dataset)
    if any(getattr(experiment.objective, name, None) for name in ("analogies", "similarities")):
        return _vectors(experiment, dataset)
    if experiment.objective_name == "regression":
        return _correlation(experiment, dataset)
    return None


def _pseudo_likelihood(experiment: Experiment, dataset: loader.Dataset) -> Measure:
    evaluate = pseudo_likelihood.pseudo_likelihood(
        experiment.build_model(), experiment.vocabulary(), experiment.precision.compute
    )
    window, stride = experiment.window()
    rows = experiment.train.batch_size
    cut = loader.cut(
        experiment.data, dataset.heldout, window=window, stride=stride, batch_size=rows, seed=0
    )
    exam = loader.exam(cut, experiment.objective.pseudo_batches)
    jit_evaluate = jax.jit(evaluate)
    return lambda params: pseudo_likelihood.rates(jax.device_get(jit_evaluate(params, exam)))


def _transduction(experiment: Experiment, dataset: loader.Dataset, prompt: Callable) -> Measure:
    settings, vocabulary = experiment.objective, experiment.vocabulary()
    writer = transduction.Writer(
        experiment.build_model(),
        lambda examples: prompt(settings, vocabulary, examples),
        experiment.data.length,
        vocabulary.end_of_document,
        settings.beams,
        settings.length_penalty,
    )
    exam = _exam(experiment, dataset)
    targets = [json.loads(line)["target"] for line in dataset.texts.read_text().splitlines()]

    def measure(params: PyTree) -> dict[str, float]:
        written = [dataset.tokenizer.decode(ids) for ids in writer.write(params, exam)]
        return transduction.score(written, targets, settings.measures, settings.bleu_tokenizer)

    return measure


def _correlation(experiment: Experiment, dataset: loader.Dataset) -> Measure:
    values, exam = correlation.Values(experiment.build_model()), _exam(experiment, dataset)
    return lambda params: correlation.correlations(*values.of(params, exam))


def _vectors(experiment: Experiment, dataset: loader.Dataset) -> Measure:
    settings, encode = experiment.objective, dataset.tokenizer.encode
    asked = vectors.read_analogies(settings.analogies, encode) if settings.analogies else None
    judged = (
        vectors.read_similarities(settings.similarities, encode) if settings.similarities else None
    )
    for name, found, least in (("analogies", asked, 1), ("similarities", judged, 3)):
        if found is not None and len(found[0]) < least:
            raise UserError(
                f"config.objective.{name}: {len(found[0])} lines of it have only words with an "
                "id; give more"
            )

    def measure(params: PyTree) -> dict[str, float]:
        table, found = jax.device_get(params["embed"]["embedding"]), {}
        if asked is not None:
            found |= {"analogies": vectors.analogies(table, asked[0]), "analogies_known": asked[1]}
        if judged is not None:
            found |= {
                "similarity": vectors.similarity(table, *judged[:2]),
                "similarity_known": judged[2],
            }
        return found

    return measure


def _exam(experiment: Experiment, dataset: loader.Dataset) -> Examples:
    """The held-out records, each once, ROWS a batch."""
    window, stride = experiment.window()
    rows = loader.cut(
        experiment.data, dataset.heldout, window=window, stride=stride, batch_size=ROWS, seed=0
    )
    return loader.exam(rows, 0)
