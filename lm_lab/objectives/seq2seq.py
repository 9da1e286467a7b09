"""Sequence to sequence (1409.3215): the target of a pair and its end token are predicted, given the
source.
"""

import dataclasses
import importlib.util
from typing import Literal

import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import MetricChoice, ModelInfo, Objective
from lm_lab.nn.positions import places_within
from lm_lab.objectives._common import left_pad, of_likelihood, shift_right
from lm_lab.schema import setting
from lm_lab.types import Batch, Examples, Inputs, ObjectiveFunctions, UserError, Vocabulary

Measure = Literal["exact_match", "word_error_rate", "edit_rate", "bleu"]


@dataclasses.dataclass(frozen=True)
class Config:
    """How the source is given, and which metrics are taken of texts that the trained model
    generates.

    `word_error_rate` is the share of targets that are not met exactly (SIGMORPHON's, for
    pronunciations); `edit_rate` is edits per unit of the targets, units being separated by spaces.
    Raises UserError for BLEU where sacrebleu is not installed.
    """

    form: Literal["by_model", "context", "joined"] = setting(
        "the source is an encoder's context, or stands in one row before the target; by_model: "
        "what the model reads",
        "by_model",
    )
    prefix: bool = setting(
        "of a joined row, the source is seen whole by all (1910.10683), not only its past", False
    )
    label_smoothing: float = setting(
        "probability that any token stands for a target", 0.0, low=0.0, high=0.9
    )
    measures: tuple[Measure, ...] = setting(
        "of texts written for the held-out sources", ("exact_match",)
    )
    measured: Literal["at_end", "always"] = setting(
        "when: once trained, or at every evaluation", "at_end"
    )
    bleu_tokenizer: Literal["none", "13a", "char"] = setting(
        "sacrebleu's; none: targets are tokenised", "none"
    )
    beams: int = setting("hypotheses of the search that writes them; 1: greedy", 1, low=1)
    length_penalty: float = setting(
        "power of the length that a beam's likelihood is divided by", 1.0, low=0.0
    )

    def __post_init__(self) -> None:
        """The checks."""
        if "bleu" in self.measures and importlib.util.find_spec("sacrebleu") is None:
            raise UserError(
                "measures has bleu, which needs sacrebleu; install lm_lab[tasks] or leave it out"
            )
        if self.prefix and self.form == "context":
            raise UserError("prefix is of a joined row; set form='joined' or leave it out")


def complete(config: Config, model: ModelInfo) -> Config:
    """The settings with `form` filled in by whether the model reads a context. Raises UserError for
    a context that it does not read.
    """
    form = config.form
    if form == "by_model":
        form = "context" if model.needs_context else "joined"
    if (form == "context") != model.needs_context:
        need = "reads a context" if model.needs_context else "reads no context"
        raise UserError(
            f"config.objective.form {form!r} is not for this config.model, which {need}; "
            "leave it out"
        )
    return dataclasses.replace(config, form=form)


def special_ids(config: Config, length: int, vocabulary: Vocabulary) -> int:
    """The id with which an encoder's decoder starts, where the model has none; in a joined row the
    source's end starts the target.
    """
    del length
    return int(config.form == "context" and vocabulary.start is None)


def _start(vocabulary: Vocabulary) -> int:
    return vocabulary.size if vocabulary.start is None else vocabulary.start


def model_length(config: Config, length: int, context_length: int) -> int:
    """The longest sequence that the model reads."""
    return max(length, context_length) if config.form == "context" else context_length + length - 1


def metrics(config: Config) -> tuple[MetricChoice, ...]:
    """The metrics of generated targets that the settings name."""
    if not config.measures:
        return ()
    settings = {
        "measures": config.measures,
        "bleu_tokenizer": config.bleu_tokenizer,
        "beams": config.beams,
        "length_penalty": config.length_penalty,
    }
    return (MetricChoice("transduction", settings, always=config.measured == "always"),)


def make(config: Config, length: int, vocabulary: Vocabulary) -> ObjectiveFunctions:
    """The objective on pairs whose target has at most `length` tokens."""
    del length

    def prepare(key: Array, examples: Examples) -> Batch:
        del key
        if config.form == "joined":
            return joined(examples, config.prefix)
        return _with_context(vocabulary, examples)

    return of_likelihood(prepare, config.label_smoothing)


def _with_context(vocabulary: Vocabulary, examples: Examples) -> Batch:
    """The decoder reads the start id and the target without its last token,
    the encoder the source.
    """
    assert examples.segments is not None
    tokens_BL, segments_BL = examples.tokens, examples.segments
    shown_BL, positions_BL = (
        shift_right(tokens_BL, segments_BL, _start(vocabulary)),
        places_within(segments_BL),
    )
    inputs = Inputs(
        shown_BL, segments_BL, positions_BL, examples.context, examples.context_segments
    )
    return Batch(inputs, tokens_BL, (segments_BL > 0).astype(jnp.float32), examples.bytes)


def joined(examples: Examples, prefix: bool = False) -> Batch:
    """One row: the source, padded on the left so that its end stands right before the target, and
    the target. With `prefix` all of the source sees all of it.
    """
    prompt = left_pad(examples, prefix)
    assert prompt.segments is not None
    assert prompt.positions is not None
    assert examples.segments is not None
    sources = examples.context.shape[1]  # type: ignore[union-attr]
    tokens = jnp.concatenate([prompt.tokens, examples.tokens[:, :-1]], axis=1)
    segments = jnp.concatenate([prompt.segments, examples.segments[:, :-1]], axis=1)
    positions = jnp.maximum(jnp.cumsum(segments, axis=1) - 1, 0)
    seen_by_all = (
        jnp.pad(prompt.prefix, ((0, 0), (0, tokens.shape[1] - sources)))
        if prompt.prefix is not None
        else None
    )
    source_padding = (
        (0, 0),
        (sources - 1, 0),
    )  # tokens of the source predict nothing; its end predicts the first token of the target
    targets, bytes_of = (
        jnp.pad(examples.tokens, source_padding),
        jnp.pad(examples.bytes, source_padding),
    )
    weights = jnp.pad(examples.segments, source_padding).astype(jnp.float32)
    inputs = Inputs(tokens, segments, positions, prefix=seen_by_all)
    return Batch(inputs, targets, weights, bytes_of)


def prompt(config: Config, vocabulary: Vocabulary, examples: Examples) -> Inputs:
    """What a model is given before it writes the first token of the target."""
    if config.form == "joined":
        return left_pad(examples, config.prefix)
    start_B1 = jnp.full((examples.tokens.shape[0], 1), _start(vocabulary), jnp.int32)
    return Inputs(
        start_B1,
        jnp.ones_like(start_B1),
        jnp.zeros_like(start_B1),
        examples.context,
        examples.context_segments,
    )


OBJECTIVE = Objective(
    Config,
    make,
    scope="causal",
    consumes="pairs",
    needs_context=None,
    metrics=metrics,
    complete=complete,
    special_ids=special_ids,
    model_length=model_length,
    prompt=prompt,
)
