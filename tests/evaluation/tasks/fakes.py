"""A model whose answers are known, in the place of a trained one."""

from collections.abc import Callable, Sequence

import numpy as np

from lm_lab.contracts import Likelihood, TextModel


def model(
    nats: Callable[[str, str], float] = lambda context, text: -float(len(text)),
    written: Callable[[str], str] = lambda prompt: prompt,
    outputs: Callable[[str], Sequence[float]] = lambda text: [0.0],
) -> TextModel:
    """nats(context, text) of continuations and texts; a token a character, greedy above -1 nat."""

    def likelihood(context: str, text: str) -> Likelihood:
        found = nats(context, text)
        return Likelihood(found, len(text), found > -1)

    def texts(texts: Sequence[str], joined: bool = False) -> list[Likelihood]:
        before = ["".join(texts[:place]) if joined else "" for place in range(len(texts))]
        return [likelihood(*pair) for pair in zip(before, texts)]

    return TextModel(
        lambda pairs: [likelihood(*pair) for pair in pairs],
        texts,
        lambda prompts, new_tokens, until: [written(prompt)[:new_tokens] for prompt in prompts],
        lambda texts: np.array([outputs(text) for text in texts]),
    )
