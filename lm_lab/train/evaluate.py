"""A run that was trained, evaluated from its newest checkpoint."""

from pathlib import Path
from typing import Any

from lm_lab.data.text import Text
from lm_lab.engine.state import TrainState
from lm_lab.evaluation.likelihood import figures
from lm_lab.runs import records
from lm_lab.runs.checkpoint import Checkpoints
from lm_lab.runs.config import read_config_file
from lm_lab.train import restore, trained_on
from lm_lab.train.compiled import CompiledProgram, compile_program
from lm_lab.train.eval_sets import is_test
from lm_lab.train.feed import task_scores
from lm_lab.train.metrics import measure_all
from lm_lab.train.run import Run
from lm_lab.train.task import bind
from lm_lab.types import UserError


def state_of(run: Run, text: Text, compiled: CompiledProgram) -> tuple[int, TrainState]:
    """(step, state) of the run's newest checkpoint. Raises UserError where it has none, is in use,
    or was trained on other text.
    """
    name, _ = read_config_file(run.directory / "config.json")
    keep = run.experiment.train.keep_checkpoints
    with Checkpoints(run.directory / "checkpoints", keep, name) as checkpoints:
        newest = checkpoints.latest(compiled.checkpoint_form())
    if newest is None:
        raise UserError(f"{run.directory} holds no checkpoint; train it first")
    step, held, extra = newest
    trained_on.check_text(run.directory, text, extra)
    state = compiled.load([held])
    if extra.get("base", "") != compiled.bases(state)[0]:
        raise UserError(
            f"{run.directory}: config.train.initial gives other parameters than it was trained on"
        )
    return step, state


def _check_trained(directory: Path) -> None:
    if not (directory / "checkpoints").is_dir():
        raise UserError(f"{directory} holds no checkpoint; train it first")
    if restore.is_alone(directory):
        raise UserError(
            f"{directory} holds a model that convert or merge wrote, and no state of training; "
            "evaluate it by --text=FILE, --tasks or, where merge wrote it, --whole, or train from "
            f"it, by --config.train.initial={directory}"
        )


def evaluate(run: Run) -> tuple[int, dict[str, float]]:
    """(step, evaluations) of the newest checkpoint; for a run that has ended they also replace
    those in its result.

    Raises UserError as training does, and where there is no checkpoint.
    """
    _check_trained(run.directory)
    result: dict[str, Any] | None = records.read_result(run.directory)
    task = bind(run.experiment, run.resolved)
    compiled = compile_program([task])
    step, state = state_of(run, task.text, compiled)
    ended = step == compiled.program.steps
    sums = compiled.evaluate(state, at_end=ended)[0]
    metrics = {
        name: prepared
        for name, prepared in compiled.feed.metrics.items()
        if ended or not is_test(name)
    }
    evaluated = compiled.evaluated_params(state, 0)
    measured = measure_all(metrics, evaluated, at_end=True)
    final = figures(sums, measured, task_scores(compiled.feed, evaluated, at_end=True))
    if result is not None and result.get("steps") == step:
        records.write_result(run.directory, {**result, "final": {**result["final"], **final}})
    return step, final
