"""Text generation by a trained run: prompts in the form of its objective, and generated ids back to
text.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np

from lm_lab.evaluation.text_run import answers
from lm_lab.generation import padded, prompts
from lm_lab.generation.beam import beam_search
from lm_lab.generation.logits import Config
from lm_lab.generation.pieces import beyond, common
from lm_lab.generation.sampling import generate, stream
from lm_lab.train import carried
from lm_lab.train.task import Task
from lm_lab.types import Codec, Examples, Inputs, PyTree, UserError

T = TypeVar("T")


class Writer(NamedTuple):
    """Generates texts with a run's model."""

    directory: Path
    task: Task
    params: PyTree

    def texts(self, given: Sequence[str], settings: Config) -> list[tuple[str, str]]:
        """Each prompt as it is shown (for a model of pairs with a tab after it) and the generated
        text.

        Raises UserError where the model does not write, or has no positions left.
        """
        inputs, shown, befores = self._begin(given)
        if settings.beams > 1:
            beams, lengths, _ = self._write(beam_search, inputs, settings)
            tokens, lengths = beams[:, 0], lengths[:, 0]
        else:
            tokens, lengths = self._write(generate, inputs, settings)
        return [
            (text, self._beyond(before, row[:length].tolist()))
            for text, before, row, length in zip(shown, befores, tokens, lengths)
        ]

    def stream(self, given: str, settings: Config) -> Iterator[str]:
        """Yields the text of one prompt piece by piece, without beams."""
        inputs, shown, befores = self._begin([given])
        steps = self._write(stream, inputs, settings)
        text = pieces(self.task.tokenizer, steps, self._stops, befores[0])
        first = next(text, "")  # raises before the prompt is shown, if the model refuses
        yield from (shown[0], first)
        yield from text

    def _begin(self, given: Sequence[str]) -> tuple[Inputs, list[str], list[list[int]]]:
        """(the inputs of the model, the texts as shown, the ids before the generated ones)."""
        if self.task.objective_kind.head is not None:
            raise UserError(
                f"{self.directory} learnt labels of texts, and writes nothing; ask it for logits, "
                "or by lm-lab evaluate --tasks=labelled=FILE"
            )
        inputs = prompted(self.task, given)
        if answers(self.task.objective_kind):
            return inputs, [f"{text}\t" for text in given], [[]] * len(given)
        rows = zip(np.asarray(inputs.tokens), np.asarray(inputs.segments))
        return inputs, list(given), [row[is_token > 0].tolist() for row, is_token in rows]

    def _write(self, write: Callable[..., T], inputs: Inputs, settings: Config) -> T:
        """Calls a function of lm_lab/generation with this model."""
        longest = self.task.family.max_length(self.task.experiment.model.settings)
        variables = {"params": self.params}
        return write(self.task.model, variables, inputs, settings, self._stops, longest)

    @property
    def _stops(self) -> list[int]:
        ends = carried.ends(self.directory)
        return list(dict.fromkeys([self.task.tokenizer.end_of_document, *ends]))

    def _beyond(self, before: Sequence[int], ids: Sequence[int]) -> str:
        decode = self.task.tokenizer.decode
        return beyond(decode(before), decode([*before, *ids]))


def prompted(task: Task, texts: Sequence[str]) -> Inputs:
    """The inputs from which the model generates: the objective's prompt, or else the text itself.

    Raises UserError where the objective trains no generation.
    """
    experiment, family, objective = task.experiment, task.family, task.objective_kind
    tokenizer, corpus = task.tokenizer, task.text.corpus
    scope = family.scope_of(experiment.model.settings)
    if scope != "causal":
        why = "no order of words" if scope == "unordered" else "the whole text"
        raise UserError(
            f"config.model of family {experiment.model.name} sees {why}, and generates none; name "
            "another run"
        )
    texts = [corpus.source.as_source(corpus.settings, text) for text in texts]
    encode = tokenizer.of_source if answers(objective) else tokenizer.encode
    ids = [encode(text).tolist() for text in texts]
    end = tokenizer.end_of_document
    if objective.prompt is not None:
        # sources end with the same token as in training
        closing = [end] if answers(objective) else []
        rows = [[*row, *closing] or [end] for row in ids]
        context, segments = map(jnp.asarray, padded(rows, left=False))
        sizes = segments.astype(jnp.float32)
        examples = Examples(context, sizes, context=context, context_segments=segments)
        return objective.prompt(experiment.objective.settings, task.vocabulary, examples)
    if family.needs_context:
        raise UserError(
            f"config.objective {experiment.objective.name!r} says nothing to go on from; generate "
            "with another"
        )
    return prompts([row or [end] for row in ids])


def pieces(
    tokenizer: Codec,
    steps: Iterator[np.ndarray],
    stops: Sequence[int],
    before: Sequence[int] = (),
) -> Iterator[str]:
    """Yields the text of one row after that of the ids `before`. Before the end it yields only text
    that later ids cannot change.
    """
    ids: list[int] = []
    shown = text = tokenizer.decode(before)
    for step in steps:
        ids += step[0].tolist()
        settled_ids = [*before, *_until(ids, stops)]
        text = tokenizer.decode(settled_ids)
        settled = _settled(tokenizer, settled_ids, text)
        if settled.startswith(shown):
            yield settled[len(shown) :]
            shown = settled
    yield beyond(shown, text)


def _settled(tokenizer: Codec, ids: list[int], text: str) -> str:
    """The beginning of the ids' text that stays whatever follows: whole characters, without
    trailing bytes that may turn out not to be UTF-8.
    """
    if tokenizer.stray is not None:
        text = common(text, tokenizer.decode([*ids, tokenizer.stray]))
    # the bytes of a character that is not complete yet
    return text.rstrip("\N{REPLACEMENT CHARACTER}")


def _until(ids: list[int], stops: Sequence[int]) -> list[int]:
    return ids[: next((place for place, number in enumerate(ids) if number in stops), len(ids))]
