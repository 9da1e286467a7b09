"""lm-lab generate: go on with a text, by the model of a trained run.

  lm-lab generate --workdir=runs/a --prompt="def main(" --temperature=0.8 --top_k=40

  --workdir=DIR               the run's directory; its newest checkpoint is taken
  --prompt=TEXT               what to go on from; given several times, the texts are written together
{settings}

One prompt is written as it comes, several when all are done. A text ends where the model ends its document, or
with an end id of the settings of generation that it came with. Of a model of pairs a prompt is a source, in the form
that the files have; a tab stands between it and the target.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import flags

from lm_lab import config as configs
from lm_lab.cli import arguments, devices
from lm_lab.generation import padded, prompts
from lm_lab.generation.beam import beam_search
from lm_lab.generation.logits import Config
from lm_lab.generation.sampling import generate, stream
from lm_lab.schema import build
from lm_lab.train import carried, restore
from lm_lab.train.task import Task, bind
from lm_lab.types import Codec, Examples, Inputs, UserError

FLAGS = flags.FlagValues()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "the run's directory", allow_overwrite=False, flag_values=FLAGS
)
PROMPTS = flags.DEFINE_multi_string("prompt", None, "what to go on from", flag_values=FLAGS)
FIELDS = dataclasses.fields(Config)
SETTINGS = {
    field.name: flags.DEFINE_string(
        field.name, None, field.metadata["doc"], allow_overwrite=False, flag_values=FLAGS
    )
    for field in FIELDS
}
__doc__ = str(__doc__).format(
    settings="\n".join(
        f"  --{f'{f.name}=...':25} {f.metadata['doc']} (default {f.default})" for f in FIELDS
    )
)


def run(argv: list[str]) -> int:
    """Prints the texts. Raises UserError."""
    if extra := arguments.parse(FLAGS, argv, "generate"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab generate --help")
    directory = arguments.folder(WORKDIR.value, "runs/a")
    given = {
        name: arguments.literal(flag.value)
        for name, flag in SETTINGS.items()
        if flag.value is not None
    }
    settings = build(Config, given, "generate")
    task = bind(*configs.resolve(configs.wrap(restore.read_run(directory)), stored=True))
    experiment = task.experiment
    devices.start(experiment.mesh)
    tokenizer = task.codec
    _, _, params = restore.load_params(directory)
    model, texts = task.model, utf8(PROMPTS.value or [""])
    inputs = prompted(task, texts)
    stops = list(dict.fromkeys([tokenizer.end_of_document, *carried.ends(directory)]))
    befores = [
        row[there > 0].tolist()
        for row, there in zip(*map(np.asarray, (inputs.tokens, inputs.segments)))
    ]
    if task.objective_kind.consumes == "pairs":
        texts, befores = [f"{text}\t" for text in texts], [[]] * len(texts)
    with devices.memory("lower --new_tokens, or give fewer prompts or beams"):
        if settings.beams > 1:
            found, lengths, _ = beam_search(model, {"params": params}, inputs, settings, stops)
            print_all(tokenizer, texts, befores, found[:, 0], lengths[:, 0])
        elif len(texts) > 1:
            print_all(
                tokenizer,
                texts,
                befores,
                *generate(model, {"params": params}, inputs, settings, stops),
            )
        else:
            steps = stream(model, {"params": params}, inputs, settings, stops)
            text = pieces(tokenizer, steps, stops, befores[0])
            first = next(text, "")  # where the model refuses, nothing is written
            for piece in chain([texts[0], first], text):
                sys.stdout.write(piece)
                sys.stdout.flush()
            print()
    return 0


def prompted(task: Task, texts: Sequence[str]) -> Inputs:
    """What the model is given to go on from: as its objective has it, or else the text itself.

    Raises UserError where the objective learns nothing that could be gone on from.
    """
    tokenizer, experiment, family = task.codec, task.experiment, task.family
    objective = task.objective_kind
    scope = family.scope_of(experiment.model)
    if scope != "causal":
        why = "no order of words" if scope == "unordered" else "the whole text"
        raise UserError(
            f"config.model of family {experiment.family} sees {why}, and generates none; name "
            "another run"
        )
    corpus = task.text.corpus
    texts = [corpus.source.as_source(corpus.settings, text) for text in texts]
    encode = tokenizer.of_source if objective.consumes == "pairs" else tokenizer.encode
    ids = [encode(text).tolist() for text in texts]
    end = tokenizer.end_of_document
    if objective.prompt is not None:
        # sources end as those that the model was trained on
        closing = [end] if objective.consumes == "pairs" else []
        rows = [[*row, *closing] or [end] for row in ids]
        context, segments = map(jnp.asarray, padded(rows, left=False))
        sizes = segments.astype(jnp.float32)
        examples = Examples(context, sizes, context=context, context_segments=segments)
        return objective.prompt(experiment.objective, task.vocabulary, examples)
    if family.needs_context:
        raise UserError(
            f"config.objective {experiment.objective_name!r} says nothing to go on from; generate "
            "with another"
        )
    return prompts([row or [end] for row in ids])


def utf8(texts: list[str]) -> list[str]:
    """The texts. Raises UserError for one that is none."""
    for number, text in enumerate(texts, 1):
        try:
            text.encode()
        except UnicodeEncodeError:  # a shell passes any bytes
            raise UserError(
                f"--prompt number {number} is not UTF-8; convert it with iconv -t UTF-8"
            ) from None
    return texts


def pieces(
    tokenizer: Codec,
    steps: Iterator[np.ndarray],
    stops: Sequence[int],
    before: Sequence[int] = (),
) -> Iterator[str]:
    """The text of one row as it comes after that of the ids `before`: until the end only what no later id changes."""
    ids: list[int] = []
    shown = text = tokenizer.decode(before)
    for step in steps:
        ids += step[0].tolist()
        kept = [*before, *_until(ids, stops)]
        text = tokenizer.decode(kept)
        settled = _settled(tokenizer, kept, text)
        if settled.startswith(shown):
            yield settled[len(shown) :]
            shown = settled
    yield _beyond(shown, text)


def _settled(tokenizer: Codec, ids: list[int], text: str) -> str:
    """What of the text of some ids stays, whatever follows: whole characters, and no run of bytes that may turn bad."""
    if tokenizer.stray is not None:
        text = _common(text, tokenizer.decode([*ids, tokenizer.stray]))
    return text.rstrip(
        "\N{REPLACEMENT CHARACTER}"
    )  # the bytes of a character that is not complete yet


def _beyond(shown: str, text: str) -> str:
    return text[len(_common(shown, text)) :]


def _common(one: str, other: str) -> str:
    """What both begin with."""
    return one[
        : next(
            (place for place, (a, b) in enumerate(zip(one, other)) if a != b),
            min(len(one), len(other)),
        )
    ]


def _until(ids: list[int], stops: Sequence[int]) -> list[int]:
    return ids[: next((place for place, number in enumerate(ids) if number in stops), len(ids))]


def print_all(
    tokenizer: Codec,
    texts: Sequence[str],
    befores: Sequence[Sequence[int]],
    tokens: Any,
    lengths: Any,
) -> None:
    """Each prompt with the text that follows its ids `before`, an empty line between them."""
    for text, before, row, length in zip(texts, befores, tokens, lengths):
        whole = tokenizer.decode([*before, *row[:length].tolist()])
        print(f"{text}{_beyond(tokenizer.decode(before), whole)}\n")
