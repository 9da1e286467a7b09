"""The loop: runs of one program, trained together and recorded apart."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from lm_lab.compute import device
from lm_lab.engine import sharding
from lm_lab.engine import step as steps_of
from lm_lab.engine.compiled import Compiled
from lm_lab.evaluation.likelihood import examine
from lm_lab.train import program as programs
from lm_lab.train import restore, room
from lm_lab.train.company import Company, fitted, gather
from lm_lab.train.experiment import TrainConfig
from lm_lab.train.feed import open_feed
from lm_lab.train.metrics import Prepared, measure
from lm_lab.train.preemption import Preempted, Signals
from lm_lab.train.program import Program
from lm_lab.train.progress import Progress
from lm_lab.train.run import BoundRun, Run, bind_runs
from lm_lab.train.watchdog import Watchdog
from lm_lab.train.writer import RunWriter
from lm_lab.types import Examples, Hyper, PyTree, Sums, TrainState

Call = tuple[
    int, int, Sums
]  # of the compiled program: first step, the step after the last, metrics


class Machine(NamedTuple):
    """A program on devices, for all members at once; arrays have a leading axis P where there are
    several.
    """

    program: Program
    text: str  # the hash of what is read
    mesh: Any
    shardings: PyTree
    start: Callable[[], TrainState]
    step: Compiled  # (state, examples [P] K B S) -> (state, metrics [P] K)
    evaluate: Compiled  # state -> sums by exam
    examples: Callable[[int, int], Examples]  # (first step, steps)
    metrics: list[Prepared]
    whole: Callable[[PyTree, PyTree], PyTree]  # (trained, frozen) of one run -> its parameters
    shares_frozen: bool  # whether the members have one frozen tree, without their axis


def train(runs: Sequence[Run], *, keeps_process: bool = False) -> list[dict[str, Any]]:
    """Trains runs of one program from where their directories stand to their end; the results, one
    a run.

    Runs that have ended are left alone. Raises UserError for what the user can mend, before
    anything is stored where that can be known. From the first step on it raises Preempted at
    SIGTERM, SIGINT and SIGHUP, with everything saved; a second signal ends the process, or, where
    that is to be kept (a notebook's), raises KeyboardInterrupt at once. Where it hangs, the process ends
    (watchdog.py).
    """
    with ExitStack() as stack:
        signals = stack.enter_context(Signals("note", keeps_process=keeps_process))
        watchdog = stack.enter_context(Watchdog(signals))
        bound, alone = bind_runs(runs), len(runs) == 1
        members = [stack.enter_context(RunWriter(run, alone)) for run in bound]
        if any(member.result is None for member in members):
            stack.callback(
                watchdog.begin, "save"
            )  # for the last of which the members wait as they are left
        while todo := [member for member in members if member.result is None]:
            company = gather(todo)
            machine = build(fitted([member.run for member in company.members], len(runs)))
            with sharding.use(machine.mesh):
                _train(machine, company, signals, watchdog)
    return [member.result for member in members if member.result is not None]


def build(runs: Sequence[BoundRun], how: str | None = None) -> Machine:
    """The machine of some runs; `how` several become one program, "vmap" or "map", is chosen by the
    device.

    Raises UserError for a mesh that does not fit, or data that cannot be read.
    """
    task, first = runs[0].task, runs[0].experiment
    sharding.check_fit(first.mesh, first.train.batch_size // first.train.microbatches, len(runs))
    mesh = sharding.make_mesh(first.mesh)
    program = programs.assemble(task)
    sharding.check_split(
        first.mesh, program.state, task.family.attention(first.model).heads or None
    )
    room.check(program.state, mesh, len(runs))
    feed = open_feed(task, program, {run.experiment.seed for run in runs})
    given = task.initial

    def examples(first_step: int, steps: int) -> Examples:
        chunks = {seed: stream.chunk(first_step, steps) for seed, stream in feed.streams.items()}
        return _stack([chunks[run.experiment.seed] for run in runs])

    shares = bool(given) and bool(jax.tree.leaves(program.state.frozen))
    hyper = _stack([run.experiment.update.hyper(run.experiment.seed) for run in runs])
    shardings = sharding.state_shardings(mesh, program.state, len(runs), shares)
    start, step = partial(programs.start, task), steps_of.chunk(program.step)
    adapter = task.adapter
    exam_sums = examine(program.model, task.eval_objectives, first.precision.compute, adapter)

    def evaluate(state: TrainState, exam: Examples, /) -> dict[str, Sums]:
        return exam_sums(state.params, exam, state.frozen)

    of_all: Callable[[TrainState, Examples], Any] = evaluate
    if len(runs) > 1:
        # vmap fills a GPU with small matrices; on a CPU map is as fast, and a member keeps its solo
        # run's bits.
        how = how or (
            "map" if jax.default_backend() == "cpu" and first.mesh.population == 1 else "vmap"
        )
        start = partial(_start_all, start, shares)
        step = steps_of.populate(step, how, shares)
        of_all = steps_of.populate_shared(evaluate, how, shares)
    jit_start = jax.jit(
        lambda hyper, given: sharding.unbox(start(hyper, given)), out_shardings=shardings
    )
    jit_step = sharding.jit_step(step, mesh, shardings, len(runs))
    jit_evaluate = jax.jit(sharding.ruled(of_all, mesh))
    exam = jax.device_put(feed.exam, sharding.examples_sharding(mesh, 1))
    return Machine(
        program,
        task.dataset.identity,
        mesh,
        shardings,
        lambda: jit_start(hyper, given),
        Compiled(jit_step),
        Compiled(jit_evaluate, lambda state: (state._replace(opt_state=()), exam)),
        examples,
        task.metrics,
        adapter.merge,
        shares,
    )


def _start_all(
    start: Callable[..., TrainState], shares_frozen: bool, hyper: Hyper, given: Mapping[str, Any]
) -> TrainState:
    """The states of all members, one after another: that compiles in half the time of a vmap."""
    if not shares_frozen:
        return jax.lax.map(lambda own: start(own, given), hyper)
    states = jax.lax.map(lambda own: start(own, given)._replace(frozen=()), hyper)
    return states._replace(frozen=start(jax.tree.map(lambda x: x[0], hyper), given).frozen)


def _stack(trees: Sequence[Any]) -> Any:
    """Members' trees as one with a leading axis; one member's as it is."""
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def next_stop(step: int, horizon: TrainConfig, steps: int) -> int:
    """The step at which the call that begins at `step` ends: a function of the step alone, so that
    a resumed run makes the calls of an undisturbed one.
    """
    intervals = (
        horizon.steps_per_call,
        horizon.log_every_steps,
        horizon.eval_every_steps or steps,
        horizon.checkpoint_every_steps,
    )
    return min(steps, *((step // interval + 1) * interval for interval in intervals))


def _train(machine: Machine, company: Company, signals: Signals, watchdog: Watchdog) -> None:
    program, members = machine.program, company.members
    horizon, last = (
        members[0].run.experiment.train,
        min(company.until or program.steps, program.steps),
    )
    step, state = company.step, _restore(machine, company)
    pending: list[Call] = []
    with closing(_Pace(machine, members, step)) as pace:
        while step < last and any(member.result is None for member in members):
            stop = min(next_stop(step, horizon, program.steps), last)
            with watchdog.waits("loader"):
                examples = machine.examples(step, stop - step)
            if not machine.step.ready(state, examples):
                with watchdog.waits("step"):
                    pace.observe(pending)
                pending = []
                pace.compile(machine.step, state, examples)
            signals.listen()  # from here on there is something to save
            with watchdog.waits("step"):
                state, metrics = machine.step(state, examples)
                finished, pending, step = pending, [(step, stop, metrics)], stop
                examines = (
                    step == program.steps or step % (horizon.eval_every_steps or program.steps) == 0
                )
                told = (
                    signals.received
                )  # once: one that comes during the evaluation waits for the next call's save
                saves = step == last or step % horizon.checkpoint_every_steps == 0 or told
                if examines or saves:
                    finished, pending = finished + pending, []
                pace.observe(finished)  # else the call before, while this one runs
            if examines:
                if not machine.evaluate.ready(state):
                    pace.compile(machine.evaluate, state)
                with watchdog.waits("evaluation"):
                    _examine(machine, members, step, state)
                pace.examined()
            if saves:
                with watchdog.waits("save"):
                    _save(members, step, state)
            if told:
                with watchdog.waits("save"):
                    _commit(members)
                raise Preempted(told, step)
            if examines or saves:
                pace.rest()
        with watchdog.waits("step"):
            pace.observe(pending)
    with watchdog.waits("save"):
        _commit(members)
    if last == program.steps:
        for member in members:
            member.close()


def _examine(machine: Machine, members: list[RunWriter], step: int, state: TrainState) -> None:
    at_end = step == machine.program.steps
    found = _measure(machine, state, members, at_end)
    all_sums = _split(jax.device_get(machine.evaluate(state)), len(members))
    for member, sums, measured in zip(members, all_sums, found):
        member.log_evaluation(step, sums, measured)


def _save(members: list[RunWriter], step: int, state: TrainState) -> None:
    _commit(members)
    for member, own in zip(members, _split(programs.saved(state), len(members))):
        member.save(step, own)


def _measure(
    machine: Machine, state: TrainState, members: list[RunWriter], at_end: bool
) -> list[dict[str, float]]:
    """The metrics of each member that are due."""
    if not machine.metrics:
        return [{} for _ in members]
    wholes = zip(_split(state.params, len(members)), _split_frozen(machine, state, len(members)))
    return [
        measure(machine.metrics, machine.whole(*own), at_end) if m.result is None else {}
        for m, own in zip(members, wholes)
    ]


def _commit(members: list[RunWriter]) -> None:
    """Waits for every member's save, so that no member is ever more than one commit ahead of
    another.
    """
    for member in members:
        member.wait()


def _restore(machine: Machine, company: Company) -> TrainState:
    """The state of the step at which the members begin, and their records open there."""
    members, step = company.members, company.step
    solo = programs.abstract_state(machine.program)
    if len(members) == 1:
        placed = programs.saved(machine.shardings)
        solo = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), solo, placed
        )
    extras: Sequence[dict[str, Any]] = [{} for _ in members]
    if step:
        states, extras = zip(*(member.restore(step, solo) for member in members))
        state = with_frozen(machine, _stack(states))
    else:
        state = machine.start()
    for member, extra, base in zip(members, extras, _bases(machine, state, len(members))):
        member.begin(machine.program, machine.text, base, company.name, step, extra)
    return jax.device_put(state, machine.shardings) if step else state


def with_frozen(machine: Machine, saved: programs.Saved) -> TrainState:
    """The state of which that was saved: what is frozen is where it began."""
    frozen = machine.start().frozen if jax.tree.leaves(machine.program.state.frozen) else ()
    return TrainState(*saved, frozen)


def _bases(machine: Machine, state: TrainState, members: int) -> list[str]:
    """Of each member, the hash of what is frozen; "" where nothing is."""
    if machine.shares_frozen:
        return [restore.hash_of(state.frozen)] * members
    return [restore.hash_of(frozen) for frozen in _split_frozen(machine, state, members)]


def _split_frozen(machine: Machine, state: TrainState, members: int) -> list[PyTree]:
    return [state.frozen] * members if machine.shares_frozen else _split(state.frozen, members)


def _split(tree: PyTree, members: int) -> list[PyTree]:
    """The trees of the members of one with a leading axis."""
    return (
        [tree]
        if members == 1
        else [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(members)]
    )


class _Pace:
    """Hands the metrics of finished calls to the members, with the seconds that they took, and
    shows how it goes.
    """

    def __init__(self, machine: Machine, members: list[RunWriter], step: int) -> None:
        self._machine, self._members = machine, members
        label = members[0].run.directory.name if len(members) == 1 else f"{len(members)} runs"
        self._progress = Progress(machine.program.steps, step, label)
        self._last = time.monotonic()

    def compile(self, compiled: Compiled, *args: Any) -> None:
        """Compiles while nothing else runs, so that these seconds are those of compiling alone."""
        begin = time.monotonic()
        with self._progress.compiling():
            compiled.compile(*args)
        seconds = (time.monotonic() - begin) / len(self._members)
        for member in self._members:
            member.compiled(seconds)
        self.rest()

    def observe(self, calls: list[Call]) -> None:
        """Calls that have finished since the last time, which share the seconds by their steps."""
        if not calls:
            return
        fetched = [jax.device_get(dict(metrics)) for _, _, metrics in calls]
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        program, count = self._machine.program, len(self._members)
        steps = calls[-1][1] - calls[0][0]
        steps_per_second = count * steps / seconds
        for (first_step, stop, _), metrics in zip(calls, fetched):
            own_seconds = seconds * (stop - first_step) / steps / count
            for member, own in zip(self._members, _split(metrics, count)):
                member.log(
                    first_step, own, own_seconds, steps_per_second * program.targets_per_step
                )
        peak_share = device.utilisation(
            steps_per_second * program.flops_per_step / self._machine.mesh.size,
            jax.devices()[0].device_kind,
            self._members[0].run.experiment.precision.compute,
        )
        loss = _mean([member.loss for member in self._members if member.result is None])
        self._progress.update(
            calls[-1][1], loss, steps_per_second * program.targets_per_step, peak_share
        )

    def examined(self) -> None:
        """Shows the held-out loss, the mean of the runs that go on."""
        self._progress.examined(
            _mean([member.held_out for member in self._members if member.result is None])
        )

    def rest(self) -> None:
        """What has passed since the last time was no training."""
        self._last = time.monotonic()

    def close(self) -> None:
        self._progress.close()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
