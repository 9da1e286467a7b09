"""Generates targets for the sources of pairs, and scores them against the true targets."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax import Array

from lm_lab.contracts import EvaluationData, Metric, MetricFunction, Model
from lm_lab.generation import beam, check_length, logits, sampling
from lm_lab.objectives.seq2seq import Measure
from lm_lab.schema import setting
from lm_lab.types import Examples, Inputs, PyTree, UserError

ROWS = 128  # of a batch
TOKENS = 16  # tokens generated between two checks of whether all rows have ended


@dataclasses.dataclass(frozen=True)
class Config:
    """The measures, and how targets are decoded; objectives/seq2seq.py explains the measures."""

    measures: tuple[Measure, ...] = setting("of written texts", ("exact_match",))
    bleu_tokenizer: Literal["none", "13a", "char"] = setting("sacrebleu's", "none")
    beams: int = setting("hypotheses of the search; 1: greedy", 1, low=1)
    length_penalty: float = setting("power of the length that likelihoods are divided by", 1.0)


def prepare(config: Config, data: EvaluationData) -> MetricFunction:
    """The measures of the targets that a model writes for the held-out sources.

    Raises UserError for an objective that gives no prompts.
    """
    if data.prompt is None:
        raise UserError(
            "the metric transduction is for objectives that say what a model is given before it "
            "writes: give OBJECTIVE a `prompt`"
        )
    end = data.vocabulary.end_of_document
    writer = Writer(
        data.model,
        data.prompt,
        data.length,
        end,
        config.beams,
        config.length_penalty,
        data.max_length,
    )
    examples, targets = data.heldout(ROWS, 0), data.targets()

    def measure(params: PyTree) -> dict[str, float]:
        written = [data.codec.decode(ids) for ids in writer.write(params, examples)]
        return score(written, targets, config.measures, config.bleu_tokenizer)

    return measure


@dataclasses.dataclass(frozen=True)
class Writer:
    """Generates targets with one model; `write` compiles at its first call."""

    model: Model
    prompt: Callable[[Examples], Inputs]
    length: int  # largest number of tokens in a target, its end included
    end: int  # the id that ends a target
    beams: int = 1
    length_penalty: float = 1.0
    max_length: int | None = None  # for which the model has positions; None: any

    def __post_init__(self) -> None:
        """Compiles nothing yet."""
        object.__setattr__(self, "_steps", self._greedy() if self.beams == 1 else self._search())

    def write(self, params: PyTree, examples: Examples) -> Iterator[np.ndarray]:
        """Yields the ids of a target, without its end, for every source in the examples [n B ...].

        Skips padding. Decodes greedily, or by beam search. Raises UserError if learned positions
        run out.
        """
        assert examples.context_segments is not None
        for number in range(len(examples.context_segments)):
            batch = jax.tree.map(lambda leaf: leaf[number], examples)  # noqa: B023 - used at once
            tokens_BN = self._steps(params, batch)  # type: ignore[attr-defined]
            ended_BN = tokens_BN == self.end
            sizes_B = np.where(ended_BN.any(1), ended_BN.argmax(1), tokens_BN.shape[1])
            is_source_B: Any = np.asarray(batch.context_segments).any(axis=1)
            yield from (
                row[:size]
                for row, size, is_source in zip(tokens_BN, sizes_B, is_source_B)
                if is_source
            )

    def _greedy(self) -> Callable[[PyTree, Examples], np.ndarray]:
        config = logits.Config(new_tokens=self.length, temperature=0.0)

        def begin(params: PyTree, batch: Examples) -> sampling.DecodeState:
            prompt = self._prompt(batch)
            state = sampling.start(self.model, config, {"params": params}, prompt)
            return state._replace(done_B=(batch.context_segments == 0).all(1))  # type: ignore[union-attr]

        def decode(
            params: PyTree, state: sampling.DecodeState
        ) -> tuple[sampling.DecodeState, Array]:
            return sampling.write(
                self.model, config, (self.end,), {"params": params}, state, TOKENS
            )

        first, more = jax.jit(begin), jax.jit(decode, donate_argnums=1)

        def greedy(params: PyTree, batch: Examples) -> np.ndarray:
            state, blocks = first(params, batch), []
            # The last call may write beyond the cache; these tokens are cut off.
            while sum(block.shape[1] for block in blocks) < self.length and not bool(
                state.done_B.all()
            ):
                state, tokens_BN = more(params, state)
                blocks.append(np.asarray(tokens_BN))
            return np.concatenate(blocks, axis=1)[:, : self.length]

        return greedy

    def _search(self) -> Callable[[PyTree, Examples], np.ndarray]:
        config = logits.Config(
            new_tokens=self.length, beams=self.beams, length_penalty=self.length_penalty
        )

        @jax.jit
        def search(params: PyTree, batch: Examples) -> tuple[Array, Array]:
            prompt = self._prompt(batch)
            hypotheses = beam.search(self.model, config, (self.end,), {"params": params}, prompt)
            return hypotheses.tokens_BKN[:, 0], hypotheses.lengths_BK[:, 0]

        def best(params: PyTree, batch: Examples) -> np.ndarray:
            tokens_BN, lengths_B = (np.asarray(part) for part in search(params, batch))
            return np.where(np.arange(tokens_BN.shape[1]) < lengths_B[:, None], tokens_BN, self.end)

        return best

    def _prompt(self, batch: Examples) -> Inputs:
        prompt = self.prompt(batch)
        # the last token is never read
        check_length(prompt.tokens.shape[1] + self.length - 1, self.max_length)
        return prompt


def score(
    written: Sequence[str], targets: Sequence[str], measures: Sequence[str], tokenizer: str
) -> dict[str, float]:
    """Metrics of texts against their targets: shares of 1; BLEU out of 100.

    `tokenizer` is sacrebleu's, for BLEU.
    """
    matches = [text == target for text, target in zip(written, targets, strict=True)]
    exact = sum(matches) / len(targets)
    compute_by_name: dict[str, Callable[[], float]] = {
        "exact_match": lambda: exact,
        "word_error_rate": lambda: 1 - exact,
        "edit_rate": lambda: edit_rate(written, targets),
        "bleu": lambda: bleu(written, targets, tokenizer),
    }
    return {name: compute_by_name[name]() for name in measures}


def edit_rate(written: Sequence[str], targets: Sequence[str]) -> float:
    """Edits (insertions, deletions, substitutions) of space-separated words, per target word."""
    edits = sum(
        distance(one.split(), other.split()) for one, other in zip(written, targets, strict=True)
    )
    return edits / sum(len(target.split()) for target in targets)


def distance(one: Sequence[Any], other: Sequence[Any]) -> int:
    """The Levenshtein distance of two sequences."""
    row = list(range(len(other) + 1))
    for row_number, item in enumerate(one, 1):
        diagonal, row[0] = row[0], row_number
        for column, other_item in enumerate(other, 1):
            diagonal, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, diagonal + (item != other_item)),
            )
    return row[-1]


def bleu(written: Sequence[str], targets: Sequence[str], tokenizer: str) -> float:
    """Corpus BLEU (Papineni 2002) as sacrebleu (1804.08771) computes it, out of 100."""
    import sacrebleu

    return sacrebleu.corpus_bleu(
        list(written), [list(targets)], tokenize=tokenizer, force=True
    ).score


METRIC = Metric(Config, prepare)
