"""lm-lab evaluate: evaluate a run's newest checkpoint again, or the likelihood of any text.

  lm-lab evaluate --workdir=runs/scan_simple
  lm-lab evaluate --workdir=runs/a --text=README.md

  --workdir=DIR               the run's directory
  --text=FILE                 evaluate this UTF-8 text instead; may be given several times

The metrics replace those in result.json if the run has ended. With --text nothing is written, and
the training data need not exist: every token of a file is evaluated once, in windows of the length
of training.
"""

from collections.abc import Mapping
from pathlib import Path

from absl import flags

from lm_lab import config as configs
from lm_lab.cli import arguments
from lm_lab.engine import sharding
from lm_lab.library import devices
from lm_lab.runs import reading
from lm_lab.train import restore
from lm_lab.train.evaluate import evaluate
from lm_lab.train.judge import open_judge
from lm_lab.train.run import Run
from lm_lab.train.task import bind
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "the run's directory", allow_overwrite=False, flag_values=FLAGS
)
TEXTS = flags.DEFINE_multi_string("text", None, "a text to judge", flag_values=FLAGS)


def run(argv: list[str]) -> int:
    """Prints the evaluations. Raises UserError."""
    if extra := arguments.parse(FLAGS, argv, "evaluate"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab evaluate --help")
    directory = arguments.folder(WORKDIR.value, "runs/a")
    read = {name: text_of(name) for name in TEXTS.value or ()}
    values = restore.read_run(
        directory
    )  # as stored: settings that were added later make no other run
    stored = Run(configs.resolve(configs.wrap(values), stored=True)[0], values, directory)
    if read:
        return judge(stored, read)
    devices.start(stored.experiment.mesh)
    with devices.memory():
        step, found = evaluate(stored)
    print(
        f"{stored.directory}: step {step}; "
        + ", ".join(f"{name} {value:.4f}" for name, value in found.items())
    )
    return 0


def judge(stored: Run, read: Mapping[str, str]) -> int:
    """Prints the likelihood of each text."""
    devices.start(sharding.Config())
    judge = open_judge(stored.directory, bind(stored.experiment, stored.resolved))
    with devices.memory("train with a lower config.train.batch_size"):
        for name, text in read.items():
            cost = judge.of(text)
            print(
                f"{name}: {cost.bits_per_byte:.4f} {judge.kind}bits per byte, "
                f"{cost.nats / cost.tokens:.4f} nats a token, {cost.tokens:,} tokens, "
                f"{cost.bytes:,} bytes",
                flush=True,
            )
    print(judge.context)
    return 0


def text_of(name: str) -> str:
    """The text of a file. Raises UserError if it is no text."""
    try:
        path = Path(name).expanduser()
        if not path.is_file():
            what = "it is no plain file" if path.exists() else "no such file"
            raise UserError(f"--text={name}: {what}; name a text file")
        text = reading.read_bytes(path).decode()
    except OSError as error:
        raise UserError(
            f"--text={name}: cannot read it ({error.strerror}); check its permissions"
        ) from None
    except RuntimeError:
        raise UserError(
            f"--text={name}: nobody has that home directory; give another path"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"--text={name} is not UTF-8 (at byte {error.start}); convert it with iconv -t UTF-8"
        ) from None
    if not text:
        raise UserError(f"--text={name} is empty; name a file with text")
    return text
