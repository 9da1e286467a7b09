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
    if AVERAGE.value and FORM.value == "run" and not restore.trained_adapter(directory):
        family, _, params = restore.load_params(directory, average=True)
        write(directory, target, params)
        print(f"{target}: {family}, the moving average of {directory}")
        return 0
    family, config, adapter = restore.load_adapter(directory, AVERAGE.value)
    if adapter.name != "lora":
        raise UserError(
            f"{directory} trained no low-rank adapter, but by {adapter.name!r}; convert reads it "
            "as it is"
        )
    adapters = adapter.trained["lora"]
    if FORM.value == "peft":
        if "params" in adapter.trained:
            raise UserError(
                f"{directory} trained other parameters too, which no PEFT folder holds; use "
                "--form=run"
            )
        peft.save(target, adapter.settings, adapters, family, config)
        print(
            f"{target}: the adapter of {directory}, {lora.count(adapters)['parameters']:,} "
            "parameters"
        )
        return 0
    _, _, params = restore.load_params(directory, AVERAGE.value)
    write(directory, target, params)
    lost = lora.merge_error(adapter.settings, adapters, adapter.frozen)
    print(
        f"{target}: {family}, with the adapter of {directory}; rounding loses {lost:.2g} of what "
        "it changes"
    )
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
        if not _compares(values):
            values["train"]["initial"] = None
        write_config(draft, values)
        restore.write_params(draft, params, text=trained_on.text_of(directory))


def _compares(values: Mapping[str, Any]) -> bool:
    """Whether the objective compares with the model of train.initial, as dpo does."""
    name = values.get("objective", {}).get("name")
    where = "config.objective.name"
    return name is not None and registry.load("objectives", name, where).reference is not None
