"""An experiment with its modules loaded and its text opened: done once per launch, by `bind`."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lm_lab import registry
from lm_lab.contracts import EvaluationData, Family, Model, Objective
from lm_lab.data import loader
from lm_lab.data.mixture import Mixed, mix
from lm_lab.data.text import Text, Texts
from lm_lab.data.weights import row_plan
from lm_lab.engine.carry import NOTHING, Carry, carry_of
from lm_lab.evaluation.likelihood import likelihood, rates
from lm_lab.nn.pooling import Pooled
from lm_lab.schema import reference
from lm_lab.train import agreement, checked, initial, metrics, optimizer
from lm_lab.train.eval_sets import EvalSet, WholeTest, of_mixture
from lm_lab.train.experiment import Experiment, complete
from lm_lab.train.optimizer import Update
from lm_lab.train.reference import References
from lm_lab.types import (
    AdapterFunctions,
    Codec,
    Examples,
    ObjectiveFunctions,
    PyTree,
    Sums,
    UserError,
    Vocabulary,
)


@dataclass(frozen=True)
class Task:
    """An experiment that is bound: its settings are complete, its modules loaded, its tokenizer
    open. The token store, initial parameters and metrics are opened once, at first use.

    model      the Linen module: model.apply({"params": params}, batch.inputs) -> logits
    objective  prepare(key, examples) -> batch, and loss(logits, batch) -> sums: "nll" in nats over
               the batch, "weight", its targets, and "bytes", the UTF-8 bytes that these stand for
    """

    experiment: Experiment
    values: Mapping[str, Any]  # the config as plain values, complete
    text: Text
    family: Family
    objective_kind: Objective
    vocabulary: Vocabulary
    window: tuple[int, int]  # (tokens in a window, tokens from one window to the next)
    objective: ObjectiveFunctions
    # the objectives that evaluate held-out text, by name; "heldout" is the one that is trained
    eval_objectives: Mapping[str, ObjectiveFunctions]
    adapter: AdapterFunctions
    update: Update
    only_plans: bool = False  # shapes are wanted: the numbers of a reference model are left NaN

    @property
    def tokenizer(self) -> Codec:
        """encode(text) -> ids, decode(ids) -> text."""
        return self.text.codec

    @cached_property
    def model(self) -> Model:
        """The family's Linen module, with the head that the objective asks for."""
        return self._headed(self.family.Model(self.experiment.model.settings))

    @cached_property
    def reference_model(self) -> Model:
        """The same model in plain operations: no fused kernel, nothing recomputed."""
        return self._headed(self.family.Model(reference(self.experiment.model.settings)))

    @cached_property
    def carry(self) -> Carry:
        """The form of the recurrent state that goes on from window to window, empty where
        config.train.carry_state is off.
        """
        if not self.experiment.train.carry_state:
            return NOTHING
        family, settings = self.family, self.experiment.model.settings
        bounded = partial(family.bounded, settings)
        compute, memory = self.experiment.precision.compute, family.memory(settings)
        return carry_of(self.reference_model, compute, memory, bounded)

    @cached_property
    def dataset(self) -> loader.Dataset:
        """The tokens. Raises UserError for text that cannot be read, and labels that cannot be
        learnt.
        """
        dataset = self.text.dataset
        for split in (split for sides in dataset.sources.values() for split in sides.splits):
            if split.records is not None and split.records.labels is not None:
                labels = split.records.labels
                self.objective_kind.check_labels(self.experiment.objective.settings, labels)
        return dataset

    def training(self, seed: int) -> Mixed:
        """The batches that a run with this seed trains on: a mixture of all sources, or of one."""
        sources = self.dataset.sources.values()
        parts = [self.batches(sides.train, seed) for sides in sources]
        batch_size = self.experiment.train.batch_size
        return mix(parts, [sides.points for sides in sources], batch_size)

    def eval_sets(self) -> list[EvalSet]:
        """The held-out batches of each source. Their shares are those that the weights end with,
        so that runs of all lengths are evaluated by the same text.
        """
        pairs = zip(self.dataset.sources.items(), self._shares())
        return [
            EvalSet(label, share, self.eval_set(sides.heldout)) for (label, sides), share in pairs
        ]

    def test_sets(self) -> list[WholeTest]:
        """The tests of the sources that have one; shares as those of `eval_sets`."""
        pairs = zip(self.dataset.sources.items(), self._shares())
        return [
            WholeTest(label, share, self.batches(sides.test, 0))
            for (label, sides), share in pairs
            if sides.test is not None
        ]

    def _shares(self) -> list[float]:
        points = tuple(sides.points for sides in self.dataset.sources.values())
        plan = row_plan(points, self.experiment.train.batch_size)
        return plan.last_shares()

    def eval_set(self, split: loader.Split) -> Examples:
        """The held-out batches of an evaluation [n B ...], those of the selection first. Raises
        UserError where the selection leaves none.
        """
        train, heldout = self.experiment.train, self.batches(split, 0)
        examples = loader.eval_set(heldout, train.selection_batches + train.eval_batches)
        if len(examples.tokens) <= train.selection_batches:
            raise UserError(
                f"config.train.selection_batches: the held-out text has {len(examples.tokens)} "
                f"batches, and {train.selection_batches} to choose by leave none to report; "
                "lower it"
            )
        return examples

    @cached_property
    def initial(self) -> dict[str, np.ndarray]:
        """The parameters of the run that config.train.initial names, by path; {} where it names
        none. Raises UserError where they are of another model.
        """
        return initial.read(self.experiment, self.text)

    @cached_property
    def metrics(self) -> dict[str, list[metrics.Prepared]]:
        """The metrics that the objective asks for, by the evaluation that they belong to:
        "heldout", "test", of a source of a mixture "heldout/LABEL". Raises UserError for one that
        cannot be taken.
        """
        choices = self.objective_kind.metrics(self.experiment.objective.settings)
        name, prepared = self.experiment.objective.name, {}
        for label, sides in self.dataset.sources.items():
            for split in sides.splits[1:]:
                evaluation = f"{split.name}/{label}" if label else split.name
                data = self._evaluation_data(split, sides.texts(split.name))
                prepared[evaluation] = metrics.prepare(choices, data, name)
        return prepared

    def batches(self, split: loader.Split, seed: int, rows: int | None = None) -> loader.AnyBatches:
        """Batches of a side of the data, of `rows` rows (default: as in training)."""
        batches, references = self._cut(split, seed, rows), self._references
        return references.added(split, batches) if references and not self.only_plans else batches

    def _cut(self, split: loader.Split, seed: int, rows: int | None = None) -> loader.AnyBatches:
        window, stride = self.window
        return loader.cut(
            self.experiment.data,
            split,
            window=window,
            stride=stride,
            batch_size=rows or self.experiment.train.batch_size,
            seed=seed,
            contiguous=self.experiment.train.carry_state,
        )

    @property
    def reference_flops(self) -> int:
        """The FLOPs of what the objective compares with, once, before training; 0 for nothing."""
        if self._references is None:
            return 0
        flops, sides = self._references.flops, self.dataset.sources.values()
        batches = (self._cut(split, 0) for side in sides for split in side.splits)
        return sum(flops(self.reference_model, each) for each in batches)

    def examples(self, step: int) -> Examples:
        """The windows [B ...] that a run of the config trains on in a step; a function of the step.
        Their bytes are None: `objective.prepare` looks them up.

        >>> task.examples(3).tokens.shape
        (8, 17)
        """
        return jax.tree.map(lambda part: part[0], self._training.chunk(step, 1))

    def evaluate(self, params: PyTree) -> dict[str, float]:
        """Of the held-out text: nats a token ("nll"), "bits_per_byte", "accuracy", ... Sources of
        a mixture count by the weights that they end with.

        >>> task.evaluate(lm_lab.init_params(task.model))["nll"] > 4
        True
        """
        sums_by_set = [
            jax.device_get(self._evaluate(params, each.examples)) for each in self._heldout
        ]
        return rates(of_mixture(self._heldout, [{"": sums} for sums in sums_by_set])[""])

    def replace(self, **changes: Any) -> "Task":
        """The task with other values of experiment fields that nothing bound depends on, as the
        mesh or the seed.
        """
        experiment = dataclasses.replace(self.experiment, **changes)
        return dataclasses.replace(self, experiment=experiment)

    @cached_property
    def _references(self) -> References | None:
        """The likelihoods that the objective compares with; None where it asks for none."""
        if self.objective_kind.reference is None:
            return None
        return References(self, self.model, self.adapter, self.initial)

    @cached_property
    def _training(self) -> Mixed:
        return self.training(self.experiment.seed)

    @cached_property
    def _heldout(self) -> list[EvalSet]:
        first = self.experiment.train.selection_batches
        return [
            each._replace(examples=jax.tree.map(lambda part: part[first:], each.examples))
            for each in self.eval_sets()
        ]

    @cached_property
    def _evaluate(self) -> Callable[..., Sums]:
        compute = self.experiment.precision.compute
        chunk = self.experiment.train.loss_chunk
        return jax.jit(
            likelihood(self.model, self.objective, compute, form=self.carry, chunk=chunk)
        )

    def _headed(self, model: Model) -> Model:
        head = self.objective_kind.head
        return model if head is None else Pooled(model, *head(self.experiment.objective.settings))

    def _evaluation_data(self, split: loader.Split, texts: Path) -> EvaluationData:
        prompt = self.objective_kind.prompt

        def heldout(rows: int, most_batches: int) -> Examples:
            return loader.eval_set(self.batches(split, 0, rows), most_batches)

        def targets() -> list[str]:
            lines = texts.read_text().splitlines()
            return [json.loads(line)["target"] for line in lines]

        return EvaluationData(
            self.model,
            self.tokenizer,
            self.vocabulary,
            self.experiment.data.length,
            self.experiment.precision.compute,
            heldout,
            targets,
            self.experiment.train.batch_size,
            prompt and partial(prompt, self.experiment.objective.settings, self.vocabulary),
            self.family.max_length(self.experiment.model.settings),
        )


def bind(experiment: Experiment, values: Mapping[str, Any], texts: Texts | None = None) -> Task:
    """The task of an experiment and its config as plain values; `texts` are shared with the other
    runs of a launch.

    The vocabulary that the model leaves out is filled in. Raises UserError where the tokenizer
    cannot be opened, the model's vocabulary is too small for it, or an objective does not fit.
    """
    text = (texts or Texts()).of(experiment.data)
    family = registry.load("models", experiment.model.name, "config.model.family")
    kind = registry.load("objectives", experiment.objective.name, "config.objective.name")
    adapter = registry.load("adapters", experiment.adapter.name, "config.adapter.name")
    vocabulary = vocabulary_of(text.codec, family.start_id(experiment.model.settings))
    experiment, values = _with_vocabulary(experiment, values, kind, vocabulary)
    if experiment.train.carry_state:
        agreement.carry(experiment, family, kind)
    length = experiment.data.length
    made = kind.make(experiment.objective.settings, length, vocabulary)
    objective = checked.objective(experiment.objective.name, made, text.codec.bytes_of)
    others = {
        name: _other_objective(name, experiment, family, kind, vocabulary, text.codec)
        for name in experiment.train.also_evaluate
    }
    eval_objectives = {"heldout": objective, **others}
    if experiment.train.loss_chunk is not None:
        agreement.loss_chunk(experiment.objective.name, eval_objectives)
    return Task(
        experiment,
        values,
        text,
        family,
        kind,
        vocabulary,
        window_of(kind, experiment.objective.settings, length),
        objective,
        eval_objectives,
        checked.adapter(experiment.adapter.name, adapter.make(experiment.adapter.settings)),
        optimizer.load(experiment.optimizer, experiment.schedule),
    )


def vocabulary_of(codec: Codec, start_id: int | None) -> Vocabulary:
    """What objectives know of the tokenizer, and the start id of the model's decoder."""
    text = (codec.vocab, codec.end_of_document, codec.words, codec.sentence_ends)
    return Vocabulary(*text, start_id, codec.mask, codec.sentinels)


def window_of(kind: Objective, settings: Any, length: int) -> tuple[int, int]:
    """(tokens in a window, tokens from one window to the next); a record is a row."""
    return kind.window(settings, length) if kind.consumes == "stream" else (length, length)


def _with_vocabulary(
    experiment: Experiment, values: Mapping[str, Any], kind: Objective, vocabulary: Vocabulary
) -> tuple[Experiment, Mapping[str, Any]]:
    """The experiment and its values with the size of the model's vocabulary: the tokenizer's plus
    the ids that the objective adds.
    """
    added = kind.special_ids(experiment.objective.settings, experiment.data.length, vocabulary)
    least, given = vocabulary.size + added, values["model"]["vocab"]
    if given is None:
        settings = dataclasses.replace(experiment.model.settings, vocab=least)
        model = experiment.model._replace(settings=settings)
        values = {**values, "model": {**values["model"], "vocab": least}}
        return dataclasses.replace(experiment, model=model), values
    if given < least:
        if experiment.train.initial is not None:
            raise UserError(
                f"{initial.KEY} has embeddings of {given} ids, and the tokenizer with "
                f"config.objective.name {experiment.objective.name!r} needs {least}; begin with a "
                "run that has them"
            )
        raise UserError(
            f"config.model.vocab {given} is below the data's {least}; raise it or leave it out"
        )
    return experiment, values


def _other_objective(
    name: str,
    experiment: Experiment,
    family: Family,
    kind: Objective,
    vocabulary: Vocabulary,
    codec: Codec,
) -> ObjectiveFunctions:
    """An objective of config.train.also_evaluate, which reads the windows of training."""
    where, length = f"config.train.also_evaluate: {name!r}", experiment.data.length
    other = registry.load("objectives", name, "config.train.also_evaluate")
    settings = complete(other, other.Config(), family, experiment.model.settings, where)
    own = window_of(kind, experiment.objective.settings, length)
    windows = window_of(other, settings, length)
    reads = (other.consumes, windows, other.reads_on or not experiment.train.carry_state)
    if reads != (kind.consumes, own, True):
        raise UserError(f"{where} reads other windows than the run; leave it out")
    compares = other.reference not in (None, kind.reference)
    if compares or (other.head is None) != (kind.head is None):
        raise UserError(f"{where} asks something else of the model than the run; leave it out")
    return checked.objective(name, other.make(settings, length, vocabulary), codec.bytes_of)
