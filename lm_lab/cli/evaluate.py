"""lm-lab evaluate: evaluate a run's newest checkpoint by its held-out text, any text, or tasks.

  lm-lab evaluate --workdir=runs/scan_simple
  lm-lab evaluate --workdir=runs/a --text=README.md
  lm-lab evaluate --workdir=runs/a --tasks=minimal_pairs=blimp.jsonl,lambada.json
  lm-lab evaluate --workdir=runs/a --whole --against=runs/b

  --workdir=DIR               the run's directory
  --config.data.source.path=PATH
                              where the run's text lies now, if not where it was: the same text; so
                              every key of config.data that names its files
  --text=FILE                 evaluate this UTF-8 text instead; may be given several times
  --tasks=TASK,...            by tasks: labels of the run's config.evaluation.tasks, NAME=FILE (a
                              task with its data), or a JSON file {{"label": {{"name": ..., ...}}}}
  --whole                     all held-out text, each token once, behind a sliding window
  --against=DIR               beside it another run, and the differences of the two
  --average                   by the moving average of the parameters, if the run kept one
  --harness=TASK,...          by tasks of EleutherAI's lm_eval (pip install "lm_lab[tasks]")
  --include_path=DIR          a folder with YAML files of further tasks of lm_eval

Without the last seven, the metrics replace those in result.json if the run has ended. With them
nothing is written, and the training data need not exist, but for --whole. Brackets are 95 %
intervals by the bootstrap over documents (or lines, or stretches of text, as the line then says);
two runs are drawn in pairs. Names of tasks: {names}.
"""

from collections.abc import Mapping
from pathlib import Path

from absl import flags

from lm_lab import config as configs
from lm_lab import registry
from lm_lab.cli import arguments
from lm_lab.contracts import Scores
from lm_lab.engine import sharding
from lm_lab.library import devices, scoring
from lm_lab.library.runs import Run as Trained
from lm_lab.library.runs import open_run
from lm_lab.runs import reading
from lm_lab.train import restore
from lm_lab.train.evaluate import evaluate
from lm_lab.train.run import Run
from lm_lab.train.task import bind
from lm_lab.train.text_scorer import open_scorer
from lm_lab.types import UserError

__doc__ = str(__doc__).format(names=", ".join(registry.names("evaluation.tasks")))
FLAGS = flags.FlagValues()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "the run's directory", allow_overwrite=False, flag_values=FLAGS
)
TEXTS = flags.DEFINE_multi_string("text", None, "a text to score", flag_values=FLAGS)
TASKS = flags.DEFINE_list("tasks", [], "tasks to evaluate by", flag_values=FLAGS)
WHOLE = flags.DEFINE_bool("whole", False, "all held-out text", flag_values=FLAGS)
AGAINST = flags.DEFINE_string("against", None, "another run", flag_values=FLAGS)
AVERAGE = flags.DEFINE_bool(
    "average", False, "the moving average of the parameters", flag_values=FLAGS
)
HARNESS = flags.DEFINE_list("harness", [], "tasks of lm_eval", flag_values=FLAGS)
INCLUDE = flags.DEFINE_string("include_path", None, "YAML files of lm_eval", flag_values=FLAGS)
SMALLER = "train with a lower config.train.batch_size"


def run(argv: list[str]) -> int:
    """Prints the evaluations. Raises UserError."""
    moved, others = arguments.take_moved(argv)
    if extra := arguments.parse(FLAGS, others, "evaluate"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab evaluate --help")
    directory = arguments.folder(WORKDIR.value, "runs/a")
    read = {name: text_of(name) for name in TEXTS.value or ()}
    asks = bool(TASKS.value or WHOLE.value)
    _check_flags(asks or bool(read))
    if HARNESS.value:
        return by_harness(directory)
    if asks or AGAINST.value:
        return by_tasks(directory, moved)
    values = restore.read_run(
        directory, moved
    )  # as stored: settings that were added later do not make it another run
    stored = Run(configs.resolve(configs.wrap(values), stored=True)[0], values, directory)
    if read:
        return score_texts(stored, read)
    devices.start(stored.experiment.mesh)
    with devices.memory():
        step, figures = evaluate(stored)
    print(
        f"{stored.directory}: step {step}; "
        + ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
    )
    return 0


def _check_flags(asks: bool) -> None:
    """Raises UserError for flags that would not be read; `asks` says whether texts or tasks are
    given.
    """
    if AGAINST.value and not asks:
        raise UserError("--against=DIR compares by --tasks, --whole or --text; give one of them")
    if HARNESS.value and (asks or AGAINST.value):
        raise UserError("--harness is asked for alone; give --tasks, --whole and --text apart")
    if INCLUDE.value and not HARNESS.value:
        raise UserError("--include_path has tasks of --harness=TASK,...; name one")
    if AVERAGE.value and not (asks or HARNESS.value):
        raise UserError(
            "--average is for --text, --tasks, --whole and --harness; without them the moving "
            "average is evaluated beside the parameters"
        )


def score_texts(stored: Run, read: Mapping[str, str]) -> int:
    """Prints the likelihood of each text."""
    devices.start(sharding.Config())
    task = bind(stored.experiment, stored.resolved)
    scorer = open_scorer(stored.directory, task, AVERAGE.value)
    with devices.memory(SMALLER):
        for name, text in read.items():
            cost = scorer.score(text)
            print(
                f"{name}: {cost.bits_per_byte:.4f} {scorer.kind}bits per byte, "
                f"{cost.nats / cost.tokens:.4f} nats a token, {cost.tokens:,} tokens, "
                f"{cost.bytes:,} bytes",
                flush=True,
            )
    print(scorer.context)
    return 0


def by_tasks(directory: Path, moved: Mapping[str, str]) -> int:
    """Prints the scores of a run by tasks and held-out text, or of two runs and their difference.
    Raises UserError.
    """
    devices.start(sharding.Config())
    places = [directory] + ([arguments.path(AGAINST.value, "--against=")] if AGAINST.value else [])
    runs = [open_run(place, average=AVERAGE.value, moved=moved) for place in places]
    if WHOLE.value and len(runs) == 2:
        scoring.check_same_text(runs[0].scorer, runs[1].scorer)
    with devices.memory(SMALLER):
        scores_of_runs = [_scores(trained) for trained in runs]
        for place, scores in zip(places, scores_of_runs):
            for label, scores_of_task in scores.items():
                print(
                    *(f"{place}: {line}" for line in scoring.lines(label, scores_of_task)), sep="\n"
                )
        if len(scores_of_runs) == 2:
            for label, scores_of_task in scores_of_runs[0].items():
                between = scoring.differences(label, scores_of_task, scores_of_runs[1][label])
                print(*(f"{places[0]} - {places[1]}: {line}" for line in between), sep="\n")
    return 0


def by_harness(directory: Path) -> int:
    """Prints the table of lm_eval. Raises UserError where it is not installed, or has no such
    task.
    """
    from lm_lab.evaluation import harness

    devices.start(sharding.Config())
    with devices.memory(SMALLER):
        trained = open_run(directory, average=AVERAGE.value)
        print(harness.evaluate(trained.harness, HARNESS.value, INCLUDE.value))
    return 0


def _scores(trained: Trained) -> dict[str, Scores]:
    """The scores of one run in all that the command asks for, by label."""
    configured = dict(trained.experiment.evaluation.tasks)
    chosen = scoring.named_tasks(TASKS.value, configured)
    for number, name in enumerate(TEXTS.value or (), 1):
        settings = {"name": "perplexity", "path": name}
        chosen |= scoring.chosen_tasks({f"text_{number}": settings}, "--text")
    scores = trained.scorer.task_scores(chosen, "--tasks")
    return scores | (trained.scorer.heldout_scores() if WHOLE.value else {})


def text_of(name: str) -> str:
    """The text of a file. Raises UserError if it is no text."""
    try:
        path = Path(name).expanduser()
        if not path.is_file():
            what = "it is no plain file" if path.exists() else "no such file"
            raise UserError(f"--text={name}: {what}; name a text file")
        text = reading.read_bytes(path).decode("utf-8-sig")
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
