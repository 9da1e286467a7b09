"""A run that was trained, looked at again."""

from typing import Any

import jax

from lm_lab.evaluation.likelihood import rates
from lm_lab.train import loop, records, restore, sharding
from lm_lab.train import program as programs
from lm_lab.train.checkpoint import Checkpoints
from lm_lab.train.member import Run
from lm_lab.types import TrainState, UserError


def newest(run: Run, machine: loop.Machine) -> tuple[int, TrainState]:
    """(step, state) of the run's newest checkpoint. Raises UserError where it has none, or is in use, or where what it
    was trained on, or adapts, is another now."""
    if not (run.directory / "checkpoints").is_dir():
        raise UserError(f"{run.directory} holds no checkpoint; train it first")
    placed = programs.saved(machine.shardings)
    abstract = programs.abstract_state(machine.program)
    abstract = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract, placed)
    spec, keep = records.fingerprint(run.resolved), run.experiment.train.keep_checkpoints
    with Checkpoints(run.directory / "checkpoints", keep, spec) as checkpoints:
        found = checkpoints.latest(abstract)
    if found is None:
        raise UserError(f"{run.directory} holds no checkpoint; train it first")
    step, state, extra = found
    if extra.get("text", machine.text) != machine.text:
        raise UserError(f"{run.directory}: config.data gives other text than it was trained on; give it that text")
    if not jax.tree.leaves(machine.program.state.frozen):
        return step, TrainState(*state)
    frozen = machine.start().frozen
    if extra.get("base") != restore.identity(frozen):
        raise UserError(f"{run.directory}: what it adapts is not what it was; give it the parameters it began with")
    return step, TrainState(*state)._replace(frozen=frozen)


def evaluate(run: Run) -> tuple[int, dict[str, float]]:
    """(step, evaluations) of the newest checkpoint; those of a run that has ended become those of its result.

    Raises UserError as training does, and where there is no checkpoint.
    """
    machine = loop.build([run])
    with sharding.use(machine.mesh):
        step, state = newest(run, machine)
        exams = {name: rates(sums) for name, sums in jax.device_get(machine.evaluate(state)).items()}
        if machine.measure is not None:
            exams["heldout"] |= machine.measure(machine.whole(state.params, state.frozen))
    found = {f"eval/{exam}/{name}": value for exam, own in exams.items() for name, value in own.items()}
    result: dict[str, Any] | None = records.read_result(run.directory)
    if result is not None and result.get("steps") == step:
        records.write_result(run.directory, {**result, "final": {**result["final"], **found}})
    return step, found
