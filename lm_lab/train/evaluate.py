"""A run that was trained, evaluated from its newest checkpoint."""

from typing import Any

import jax

from lm_lab.engine import sharding
from lm_lab.evaluation.likelihood import rates
from lm_lab.runs import records
from lm_lab.runs.checkpoint import Checkpoints
from lm_lab.runs.config import read_config_file
from lm_lab.train import loop, restore
from lm_lab.train import program as programs
from lm_lab.train.metrics import measure
from lm_lab.train.run import Run, bind_runs
from lm_lab.types import TrainState, UserError


def state_of(run: Run, machine: loop.Machine) -> tuple[int, TrainState]:
    """(step, state) of the run's newest checkpoint. Raises UserError where it has none, or is in
    use.
    """
    if not (run.directory / "checkpoints").is_dir():
        raise UserError(f"{run.directory} holds no checkpoint; train it first")
    abstract = programs.abstract_state(machine.program)
    abstract = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        abstract,
        programs.saved(machine.shardings),
    )
    if restore.is_alone(run.directory):
        raise UserError(
            f"{run.directory} holds a model that convert or merge wrote, and no state of "
            "training; name its text by "
            f"--text=FILE, or train from it, by --config.train.initial={run.directory}"
        )
    name, _ = read_config_file(run.directory / "config.json")
    keep = run.experiment.train.keep_checkpoints
    with Checkpoints(run.directory / "checkpoints", keep, name) as checkpoints:
        found = checkpoints.latest(abstract)
    if found is None:
        raise UserError(f"{run.directory} holds no checkpoint; train it first")
    step, saved, extra = found
    if extra.get("text", machine.text) != machine.text:
        raise UserError(
            f"{run.directory}: config.data gives other text than it was trained on; give it "
            "that text"
        )
    state = loop.with_frozen(machine, saved)
    if extra.get("base", "") != restore.hash_of(state.frozen):
        raise UserError(
            f"{run.directory}: config.train.initial gives other parameters than it was trained on"
        )
    return step, state


def evaluate(run: Run) -> tuple[int, dict[str, float]]:
    """(step, evaluations) of the newest checkpoint; those of a run that has ended become those of
    its result.

    Raises UserError as training does, and where there is no checkpoint.
    """
    result: dict[str, Any] | None = records.read_result(run.directory)
    machine = loop.build(bind_runs([run]))
    with sharding.use(machine.mesh):
        step, state = state_of(run, machine)
        exams = {
            name: rates(sums) for name, sums in jax.device_get(machine.evaluate(state)).items()
        }
        whole = machine.whole(state.params, state.frozen)
        exams["heldout"] |= measure(machine.metrics, whole, at_end=True)
    found = {
        f"eval/{exam}/{name}": value for exam, own in exams.items() for name, value in own.items()
    }
    if result is not None and result.get("steps") == step:
        records.write_result(run.directory, {**result, "final": {**result["final"], **found}})
    return step, found
