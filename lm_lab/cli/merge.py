"""lm-lab merge: merge a run's adapter into the parameters on which it was trained, the newest
checkpoints of a run into their mean, or write the moving average of its parameters.

  lm-lab merge --workdir=runs/lora --to=runs/merged
  lm-lab merge --workdir=runs/lora --to=exported/adapter --form=peft
  lm-lab merge --workdir=runs/multi30k_de --to=runs/mean --checkpoints=10
  lm-lab merge --workdir=runs/multi30k_de --to=runs/average --average

  --workdir=DIR               the run that trained the adapter, or keeps the checkpoints
  --to=FOLDER                 a new folder
  --form=FORM                 run (default): a run's directory, for other commands, train.initial;
                              peft: only the adapter, for PEFT on the base as `convert` writes it
  --average                   the moving average of what was trained, if the run kept one
  --checkpoints=N             the mean of the N newest checkpoints (train.keep_checkpoints), in the
                              place of an adapter

An adapter is added in float32, and a line says what rounding the sum to the parameters' dtype
loses; a mean is taken in float64, and rounded once to that dtype.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from lm_lab import registry
from lm_lab.adapters import lora
from lm_lab.cli import arguments
from lm_lab.interop import folder, peft
from lm_lab.runs.config import write_config
from lm_lab.train import carried, restore, trained_on
from lm_lab.types import PyTree, UserError

FLAGS = flags.FlagValues()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "the run's directory", allow_overwrite=False, flag_values=FLAGS
)
TO = flags.DEFINE_string("to", None, "what is written", allow_overwrite=False, flag_values=FLAGS)
FORM = flags.DEFINE_enum("form", "run", ["run", "peft"], "of what is written", flag_values=FLAGS)

AVERAGE = flags.DEFINE_bool(
    "average", False, "the moving average of the parameters", flag_values=FLAGS
)
CHECKPOINTS = flags.DEFINE_integer("checkpoints", None, "whose mean is taken", 1, flag_values=FLAGS)


def run(argv: list[str]) -> int:
    """Merges, and prints what was written. If it raises UserError, nothing was written."""
    if extra := arguments.parse(FLAGS, argv, "merge"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab merge --help")
    directory = arguments.folder(WORKDIR.value, "runs/lora")
    if not TO.value:
        raise UserError("--to=FOLDER is missing, as in --to=runs/merged")
    target = arguments.path(TO.value, "--to=")
    folder.check_free(target)
    if CHECKPOINTS.value is not None:
        return merge_checkpoints(directory, target, CHECKPOINTS.value)
    if FORM.value == "peft":
        return write_peft(directory, target)
    if not AVERAGE.value and not restore.trained_adapter(directory):
        raise UserError(
            f"{directory} trained no adapter, but all parameters; --checkpoints=N and --average "
            "are for it"
        )
    family, _, params = restore.load_params(directory, AVERAGE.value)
    write(directory, target, params)
    print(f"{target}: {family}, {_what(directory)}")
    return 0


def _what(directory: Path) -> str:
    """What was merged, in words."""
    if not restore.trained_adapter(directory):
        return f"the moving average of {directory}"
    _, _, adapter = restore.load_adapter(directory, AVERAGE.value)
    if adapter.name != "lora":
        return f"with what {directory} trained of it, by {adapter.name}"
    lost = lora.merge_error(adapter.settings, adapter.trained["lora"], adapter.frozen)
    return f"with the adapter of {directory}; rounding loses {lost:.2g} of what it changes"


def write_peft(directory: Path, target: Path) -> int:
    """Writes a run's adapter for PEFT, and prints what was written. Raises UserError."""
    family, config, adapter = restore.load_adapter(directory, AVERAGE.value)
    if adapter.name != "lora":
        raise UserError(
            f"{directory} trained no low-rank adapter, but by {adapter.name!r}; leave out --form"
        )
    if "params" in adapter.trained:
        raise UserError(
            f"{directory} trained other parameters too, which no PEFT folder holds; use --form=run"
        )
    adapters = adapter.trained["lora"]
    peft.save(target, adapter.settings, adapters, family, config)
    count = lora.count(adapters)["parameters"]
    print(f"{target}: the adapter of {directory}, {count:,} parameters")
    return 0


def merge_checkpoints(directory: Path, target: Path, count: int) -> int:
    """Writes the mean of a run's newest checkpoints, and prints which. Raises UserError."""
    if AVERAGE.value or FORM.value != "run":
        raise UserError("--checkpoints is of the parameters; leave out --average and --form")
    family, _, params, steps = restore.load_mean(directory, count)
    write(directory, target, params)
    print(
        f"{target}: {family}, the mean of {directory} at steps {', '.join(map(str, steps[::-1]))}"
    )
    return 0


def write(directory: Path, target: Path, params: PyTree) -> None:
    """Writes a run's directory like the one in `directory`, with these parameters alone."""
    with folder.drafted(target) as draft:
        values = carried.hand_on(directory, draft, restore.read_config(directory))
        values["adapter"] = {"name": "none"}
        if "train" in values and not _compares(values):
            values["train"]["initial"] = None
        write_config(draft, values)
        restore.write_params(draft, params, text=trained_on.text_of(directory))


def _compares(values: Mapping[str, Any]) -> bool:
    """Whether the objective compares with the model of train.initial, as dpo does."""
    name = values.get("objective", {}).get("name")
    where = "config.objective.name"
    return name is not None and registry.load("objectives", name, where).reference is not None
