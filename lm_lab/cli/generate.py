"""lm-lab generate: continue a text with the model of a run.

  lm-lab generate --workdir=runs/a --prompt="def main(" --temperature=0.8 --top_k=40

  --workdir=DIR               the run's directory; its newest checkpoint is used
  --prompt=TEXT               the text to continue; given several times, the texts are one batch
  --average                   with the moving average of the parameters, if the run kept one
{settings}

A single prompt is printed token by token, several when all are complete. A text ends at the model's
end of document, or at an end id of the generation settings that came with the model. For a model of
pairs a prompt is a source, in the form that the files have; a tab separates it from the target.
"""

import dataclasses
import sys
import textwrap

from absl import flags

from lm_lab.cli import arguments
from lm_lab.generation.logits import Config
from lm_lab.library import devices
from lm_lab.library.runs import open_run
from lm_lab.schema import build
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "the run's directory", allow_overwrite=False, flag_values=FLAGS
)
PROMPTS = flags.DEFINE_multi_string("prompt", None, "the text to continue", flag_values=FLAGS)
AVERAGE = flags.DEFINE_bool(
    "average", False, "the moving average of the parameters", flag_values=FLAGS
)
FIELDS = dataclasses.fields(Config)
SETTINGS = {
    field.name: flags.DEFINE_string(
        field.name, None, field.metadata["doc"], allow_overwrite=False, flag_values=FLAGS
    )
    for field in FIELDS
}
__doc__ = str(__doc__).format(
    settings="\n".join(
        textwrap.fill(
            f"{f.metadata['doc']} (default {f.default})",
            width=100,
            initial_indent=f"  --{f'{f.name}=...':26}",
            subsequent_indent=" " * 30,
        )
        for f in FIELDS
    )
)


def run(argv: list[str]) -> int:
    """Prints the texts. Raises UserError."""
    if extra := arguments.parse(FLAGS, argv, "generate"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab generate --help")
    directory = arguments.folder(WORKDIR.value, "runs/a")
    settings_given = {
        name: arguments.literal(flag.value)
        for name, flag in SETTINGS.items()
        if flag.value is not None
    }
    settings = build(Config, settings_given, "generate")
    texts, trained = utf8(PROMPTS.value or [""]), open_run(directory, average=AVERAGE.value)
    devices.start(trained.experiment.mesh)
    with devices.memory("lower --new_tokens, or give fewer prompts or beams"):
        if settings.beams > 1 or len(texts) > 1:
            for shown, text in trained.writer.texts(texts, settings):
                print(f"{shown}{text}\n")
        else:
            for piece in trained.writer.stream(texts[0], settings):
                sys.stdout.write(piece)
                sys.stdout.flush()
            print()
    return 0


def utf8(texts: list[str]) -> list[str]:
    """The texts. Raises UserError for one that is not UTF-8."""
    for number, text in enumerate(texts, 1):
        try:
            text.encode()
        except UnicodeEncodeError:  # a shell passes any bytes
            raise UserError(
                f"--prompt number {number} is not UTF-8; convert it with iconv -t UTF-8"
            ) from None
    return texts
