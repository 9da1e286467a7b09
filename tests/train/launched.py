"""Tiny runs that are launched, killed and compared."""

import jax
import pytest

from lm_lab.engine.program import CompiledEngine
from lm_lab.engine.sharding import unbox
from lm_lab.engine.state import saved
from lm_lab.runs import records
from lm_lab.runs.checkpoint import Checkpoints
from lm_lab.sweeps import groups
from lm_lab.train import identity, program
from lm_lab.train.compiled import compile_program
from lm_lab.train.run import Run, bind_runs
from lm_lab.train.writer import RunWriter
from tests import tiny
from tests.tiny import same_bits

PACE = ("seconds", "compile_seconds", "tokens_per_second")  # times, which are not state
assemble = program.assemble
PROGRAMS: dict[str, program.Program] = {}  # of one run
ENGINES: dict[tuple[int, str], CompiledEngine] = {}  # of as many members


def key_of(task):
    """A key that is equal for tasks of one program. Which run another begins with is of its arrays,
    not of its program.
    """
    values = dict(task.values)
    own = {"initial": values["train"]["initial"] is not None, "memory_bytes": None}
    return groups.program(values | {"train": values["train"] | own})


def assemble_once(task):
    """The program of a task, traced once in a process for all that differ in traced settings."""
    key = key_of(task)
    if key not in PROGRAMS:
        PROGRAMS[key] = assemble(task)
    return PROGRAMS[key]._replace(accumulation=program.accumulation(task.experiment.train))


def compile_once(tasks):
    """The compiled program of these tasks, reused from earlier tests with the same program and
    number of members: tracing and compiling are most of a tiny run's time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "assemble", assemble_once)
        made = compile_program(tasks)
    engine = ENGINES.setdefault((len(tasks), key_of(tasks[0])), made.engine)
    return made._replace(engine=engine._replace(batch=made.engine.batch))


class Killed(Exception):
    """The process would be gone."""


THREE = (
    {"seed": 0},
    {"seed": 1, "optimizer.peak_rate": 3e-3},
    {"seed": 2, "optimizer.weight_decay": 0.5},
)


def runs_in(directory, members=THREE[:1], **changes):
    return [
        Run(*tiny.resolve(changes | own), directory / f"run{index}")
        for index, own in enumerate(members)
    ]


def assembled(run):
    """The program of a run."""
    (whole,) = bind_runs([run])
    return assemble_once(whole.task)


def kept(run):
    """(state, lines, result): what a run stores, without times."""
    made = assembled(run)
    abstract = saved(unbox(made.state), made.slots)
    spec = identity.name_of(run.resolved)
    with Checkpoints(run.directory / "checkpoints", 2, spec) as checkpoints:
        found = checkpoints.latest(abstract)
    assert found is not None
    lines = [dict(line) for line in records.read_metrics(run.directory)]
    result = dict(records.read_result(run.directory) or {})
    for record in (*lines, result):
        for name in PACE:
            record.pop(name, None)
    return (found[0], jax.device_get(found[1])), lines, result


def assert_same(runs, undisturbed):
    for one, other in zip(runs, undisturbed, strict=True):
        (step, state), lines, result = kept(one)
        (wanted_step, wanted_state), wanted_lines, wanted_result = kept(other)
        assert step == wanted_step
        assert same_bits(state, wanted_state)
        assert lines == wanted_lines
        assert result == wanted_result


def newest(run):
    """The name of its newest checkpoint, None where there is none."""
    return max((path.name for path in (run.directory / "checkpoints").glob("step_*")), default=None)


def kill_at(monkeypatch, number, after):
    """Makes the given save raise, before or after it has been handed over; the members save in
    turn.
    """
    save, count = RunWriter.save, iter(range(1, 1000))

    def dying(self, *args):
        now = next(count)
        if now == number and not after:
            raise Killed
        save(self, *args)
        if now == number:
            raise Killed

    monkeypatch.setattr(RunWriter, "save", dying)
