"""Greedy texts of a trained model: after each prompt, the most likely token next."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from lm_lab.evaluation import rows
from lm_lab.evaluation.scoring import WHOLE
from lm_lab.evaluation.text_run import TextRun
from lm_lab.generation import padded, sampling
from lm_lab.generation.logits import Config
from lm_lab.generation.pieces import beyond
from lm_lab.objectives._common import left_pad
from lm_lab.types import Examples, Inputs, PyTree, UserError

TOKENS = 16  # written between two checks of whether all texts have ended


class Writer:
    """Writes with one model; programs are compiled for the first prompts of each shape."""

    def __init__(self, run: TextRun) -> None:
        """Compiles nothing yet."""
        self._run = run
        self._begin = jax.jit(self._start, static_argnums=0)
        self._decode = jax.jit(self._write, static_argnums=0, donate_argnums=2)

    def write(
        self, params: PyTree, prompts: Sequence[str], new_tokens: int, until: Sequence[str]
    ) -> list[str]:
        """What follows each prompt: at most `new_tokens` tokens, up to the end of the document or
        the first of the texts `until`. A long prompt is cut from the left.
        """
        ids = [self._ids(prompt, new_tokens) for prompt in prompts]
        by_room: dict[int, list[int]] = {}
        for number, prompt_ids in enumerate(ids):
            by_room.setdefault(rows.room(len(prompt_ids), self._room(new_tokens)), []).append(
                number
            )
        texts = [""] * len(prompts)
        with self._run.progress("Writing texts", len(prompts), "texts") as progress:
            for room, prompt_numbers in by_room.items():
                for first in range(0, len(prompt_numbers), self._run.rows):
                    batch = prompt_numbers[first : first + self._run.rows]
                    batch_texts = self._batch(
                        params, [ids[index] for index in batch], room, new_tokens, until
                    )
                    for number, text in zip(batch, batch_texts):
                        texts[number] = text
                    progress.add(len(batch))
        return texts

    def _ids(self, prompt: str, new_tokens: int) -> list[int]:
        run, end = self._run, self._run.codec.end_of_document
        if run.of_pairs:
            source = run.codec.of_source(run.as_source(prompt)).tolist()
            return [*source, end][-self._room(new_tokens) :]
        return (run.codec.encode(prompt).tolist() or [end])[-self._room(new_tokens) :]

    def _room(self, new_tokens: int) -> int:
        """The most tokens of a prompt: what the new tokens leave of a window, and at least half a
        window for models that read any number of tokens. Raises UserError where none are left.
        """
        run = self._run
        if run.max_length is not None and new_tokens >= run.max_length:
            raise UserError(
                f"new_tokens {new_tokens} leaves no room: the model has positions for "
                f"{run.max_length} tokens; lower it"
            )
        if run.of_pairs or run.needs_context:
            room = run.limits[0]
            joined = run.of_pairs and not run.needs_context and run.max_length is not None
            return min(room, run.max_length - new_tokens) if joined else room  # type: ignore[operator]
        most = max(run.window - 1 - new_tokens, run.window // 2, 1)
        return most if run.max_length is None else min(most, run.max_length - new_tokens)

    def _batch(
        self,
        params: PyTree,
        ids: Sequence[list[int]],
        room: int,
        new_tokens: int,
        until: Sequence[str],
    ) -> list[str]:
        shape = (self._run.rows, room)
        context, segments = padded(ids, shape, left=False)
        config = Config(new_tokens=new_tokens, temperature=0.0)
        state = self._begin(config, params, context, segments)
        new_ids = np.zeros((len(ids), 0), np.int64)
        texts = [""] * len(ids)
        while new_ids.shape[1] < new_tokens:
            state, tokens_BN = self._decode(config, params, state)
            step_ids = np.asarray(tokens_BN)[: len(ids)]
            new_ids = np.concatenate([new_ids, step_ids], axis=1)[:, :new_tokens]
            endings = [
                self._text(prompt_ids, row.tolist(), until) for prompt_ids, row in zip(ids, new_ids)
            ]
            texts = [text for text, _ in endings]
            if all(ended for _, ended in endings):
                break
        return texts

    def _text(self, before: list[int], ids: list[int], until: Sequence[str]) -> tuple[str, bool]:
        """(the text of ids up to its end, whether it has ended)."""
        run = self._run
        size = next((index for index, token in enumerate(ids) if token in run.stops), len(ids))
        before = [] if run.of_pairs else before
        decode = run.codec.decode
        text = beyond(decode(before), decode([*before, *ids[:size]]))
        stops = [start for stop in until if (start := text.find(stop)) >= 0]
        return text[: min(stops, default=len(text))], bool(stops) or size < len(ids)

    def _prompt(self, examples: Examples) -> Inputs:
        kind, run = self._run.kind, self._run
        if kind.prompt is None:
            return left_pad(examples)
        return kind.prompt(run.settings, run.vocabulary, examples)

    def _start(self, config: Config, params: PyTree, context: Any, segments: Any) -> Any:
        sizes = segments.astype(np.float32)
        examples = Examples(context, sizes, context=context, context_segments=segments)
        variables = WHOLE.variables(params, (), self._run.compute)
        state = sampling.start(self._run.model, config, variables, self._prompt(examples))
        return state._replace(done_B=(segments == 0).all(1))

    def _write(self, config: Config, params: PyTree, state: Any) -> Any:
        variables = WHOLE.variables(params, (), self._run.compute)
        return sampling.write(self._run.model, config, self._run.stops, variables, state, TOKENS)
