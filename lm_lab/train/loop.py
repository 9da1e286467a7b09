"""The loop: runs of one program, trained together and recorded apart."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Any

from lm_lab.engine.state import TrainState
from lm_lab.runs import peers, tracking
from lm_lab.train.compiled import CompiledProgram, compile_program
from lm_lab.train.experiment import Experiment
from lm_lab.train.feed import task_scores
from lm_lab.train.metrics import measure_all
from lm_lab.train.microbatches import settle
from lm_lab.train.population import Population, fitted, next_population
from lm_lab.train.preemption import Preempted, Signals
from lm_lab.train.run import Run, bind_runs
from lm_lab.train.shared_writer import agreed, open_writer, share_results
from lm_lab.train.throughput import ThroughputMeter
from lm_lab.train.watchdog import Watchdog
from lm_lab.train.writer import RunWriter


def train(runs: Sequence[Run], *, keeps_process: bool = False) -> list[dict[str, Any]]:
    """Trains runs of one program from where their directories stand to their end; the results, one
    a run.

    Runs that have ended are left alone. Raises UserError for mistakes of the user, if possible
    before anything is stored. From the first step on it raises Preempted at SIGTERM, SIGUSR1,
    SIGINT and SIGHUP, with everything saved; a second signal ends the process, or with
    `keeps_process` (in a notebook) raises KeyboardInterrupt at once. If a device or disk hangs, the
    process ends (watchdog.py).
    """
    tracking.check()
    with ExitStack() as stack:
        signals = stack.enter_context(Signals("note", keeps_process=keeps_process))
        watchdog = stack.enter_context(Watchdog(signals))
        alone = len(runs) == 1
        writers = [stack.enter_context(open_writer(run, alone)) for run in bind_runs(runs)]
        if any(writer.result is None for writer in writers):
            # The writers wait for the last save as their blocks are left.
            stack.callback(watchdog.begin, "save")
            watchdog.follow(lambda: _saving(writers))
        while todo := [writer for writer in writers if writer.result is None]:
            population = next_population(todo)
            tasks = fitted([writer.run.task for writer in population.members], len(runs))
            compiled = compile_program(settle(tasks, population.accumulation))
            _train(compiled, population, signals, watchdog)
    return [writer.result for writer in writers if writer.result is not None]


def _train(
    compiled: CompiledProgram, population: Population, signals: Signals, watchdog: Watchdog
) -> None:
    """Trains the members from their step to that at which further runs join them, or to their
    end.
    """
    engine, steps, writers = compiled.engine, compiled.program.steps, population.members
    experiment, last = writers[0].run.experiment, min(population.until or steps, steps)
    config, evaluation = experiment.train, experiment.evaluation
    step, state = population.step, begin(compiled, population)
    if peers.is_first():
        compiled.warn()
    with closing(ThroughputMeter(compiled, writers, step)) as meter:
        while step < last and any(writer.result is None for writer in writers):
            stop = min(next_stop(step, experiment, steps), last)
            with watchdog.waits("loader"):
                examples = engine.batch(step, stop - step, state)
            if not engine.step.is_ready(examples):
                with watchdog.waits("step"):
                    meter.log()
                with meter.compiling():
                    engine.step.compile(state, examples)
            signals.listen()  # from here on there is something to save
            with watchdog.waits("step"):
                state, metrics = engine.step(state, examples)
                # Read once: a signal during the evaluation waits for the next call's save.
                stop_signal = agreed(signals)
                meter.add(step, stop, metrics)
                step = stop
                evaluates = _is_due(step, config.eval_every_steps, steps)
                has_tasks = compiled.feed.has_tasks
                scores_tasks = has_tasks and _is_due(step, evaluation.every_steps, steps)
                evaluates = evaluates or scores_tasks
                saves = step == last or step % config.checkpoint_every_steps == 0
                saves = saves or step in config.keep_steps
                saves = saves or stop_signal is not None
                meter.log(still_running=0 if evaluates or saves else 1)
            if evaluates and not compiled.is_ready_to_evaluate():
                with meter.compiling():
                    compiled.compile_evaluation(state)
            if evaluates:
                with watchdog.waits("tasks" if scores_tasks else "evaluation"):
                    _evaluate(compiled, writers, step, state, scores_tasks)
                meter.show_evaluation()
            if saves:
                with watchdog.waits("save"):
                    _save(compiled, writers, step, state)
            if stop_signal:
                with watchdog.waits("save"):
                    _commit(writers)
                raise Preempted(stop_signal, step)
            if evaluates or saves:
                meter.pause()
        with watchdog.waits("step"):
            meter.log()
    with watchdog.waits("save"):
        _commit(writers)
    if last == steps:
        for writer in writers:
            writer.close()


def _is_due(step: int, interval: int | None, steps: int) -> bool:
    return step == steps or step % (interval or steps) == 0


def next_stop(step: int, experiment: Experiment, steps: int) -> int:
    """The step at which the call that begins at `step` ends. It depends on the step alone, so that
    a resumed run makes the same calls as an undisturbed one.
    """
    config, evaluation = experiment.train, experiment.evaluation
    intervals = (
        config.steps_per_call,
        config.log_every_steps,
        config.eval_every_steps or steps,
        evaluation.every_steps or steps,
        config.checkpoint_every_steps,
    )
    kept = (each for each in config.keep_steps if each > step)
    return min(steps, *kept, *((step // interval + 1) * interval for interval in intervals))


def begin(compiled: CompiledProgram, population: Population) -> TrainState:
    """The state at the step at which the members begin; also opens their records at that step."""
    writers, step = population.members, population.step
    if step:
        held, extras = zip(
            *(writer.restore(step, compiled.checkpoint_form()) for writer in writers)
        )
        state = compiled.load(held)
    else:
        state, extras = compiled.start(), [{} for _ in writers]
    for writer, extra, base in zip(writers, extras, compiled.bases(state)):
        writer.begin(compiled.program, compiled.feed, base, population.name, step, extra)
    return state


def _evaluate(
    compiled: CompiledProgram,
    writers: list[RunWriter],
    step: int,
    state: TrainState,
    scores_tasks: bool,
) -> None:
    """Records held-out losses and metrics, and the scores of the tasks where these are due."""
    at_end, feed = step == compiled.program.steps, compiled.feed
    measured, scored = [], []
    for index, writer in enumerate(writers):
        going = writer.result is None and (any(feed.metrics.values()) or scores_tasks)
        evaluated = compiled.evaluated_params(state, index) if going else {}
        measured.append(measure_all(feed.metrics, evaluated, at_end))
        scored.append(task_scores(feed, evaluated if scores_tasks else {}, at_end))
    all_sums = compiled.evaluate(state, at_end)
    for writer, sums, values, tasks in zip(writers, all_sums, measured, scored):
        writer.log_evaluation(step, sums, values, tasks)
    share_results(writers)


def _save(
    compiled: CompiledProgram, writers: list[RunWriter], step: int, state: TrainState
) -> None:
    _commit(writers)
    for writer, held in zip(writers, compiled.held(state)):
        writer.save(step, held)


def _saving(writers: list[RunWriter]) -> int | None:
    """The step of a save under way."""
    return next((step for writer in writers if (step := writer.saving) is not None), None)


def _commit(writers: list[RunWriter]) -> None:
    """Waits for the saves of all members, so that none is ever more than one commit ahead of
    another.
    """
    for writer in writers:
        writer.wait()
