"""The records of one run among those trained together: its directory, counters, checkpoints and
result.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lm_lab.evaluation.likelihood import figures, rates
from lm_lab.runs import arrays, history, records
from lm_lab.runs.checkpoint import Checkpoints
from lm_lab.runs.commits import committed
from lm_lab.runs.durable import explained, set_aside, workdir
from lm_lab.runs.reading import Unreadable
from lm_lab.runs.status import FINISHED
from lm_lab.train import branch, carried, identity, step_metrics
from lm_lab.train.branch import Origin
from lm_lab.train.counters import ACCUMULATION, BRANCHED, LOST_STEPS, POPULATION, fault_of, place_of
from lm_lab.train.feed import Feed
from lm_lab.train.horizon import check_end
from lm_lab.train.program import Program
from lm_lab.train.run import BoundRun, Place
from lm_lab.train.sections import flat
from lm_lab.train.trained_on import check_text
from lm_lab.types import PyTree, UserError

logger = logging.getLogger(__name__)

Sums = dict[str, float]
OTHER = "choose another directory"


class RunWriter:
    """A run, inside `with`: entering claims its directory and finds its result if it has ended.

    Raises UserError where the directory cannot be written, holds another run, or is in use.
    """

    def __init__(self, run: BoundRun, alone: bool = True) -> None:
        self.run = run._replace(resolved=carried.relative(run.resolved))
        # A kill may leave a member one commit ahead of the others; all still have the earlier one.
        self._keep = max(run.experiment.train.keep_checkpoints, 1 if alone else 2)
        self.result: dict[str, Any] | None = None
        self._stack, self._opened = ExitStack(), ExitStack()
        self._lines: list[bytes] | None = None
        self._write: Callable[[Path], None] | None = None  # the arrays of a save, if not this one

    def __enter__(self) -> "RunWriter":
        branch.check_place(self.run)
        with self._stack:  # left again where the run is refused
            self._stack.enter_context(workdir(self.run.directory))
            self._enter()
            self._stack = self._stack.pop_all()
        return self

    def _enter(self) -> None:
        directory = self.run.directory
        if (directory / "sweep.json").exists():
            raise UserError(f"{directory} holds a sweep, not a run; choose another directory")
        self._claim = identity.claim(directory, self.run.resolved)
        carried.check(directory, self.run.experiment)
        broken = self._take_up_result()
        ended = self.result is not None and not self._is_longer(self.result)
        config = directory / "config.json"
        if ended and config.exists() and not (self._claim.damaged or self._claim.other_files):
            return
        train = self.run.experiment.train
        if not ended and train.branch_from and not committed(directory / "checkpoints"):
            _ = self._origin  # what is wrong with it is said before the long work
        saved = (directory / "checkpoints", self._keep, self._claim.identity, train.keep_steps)
        self._checkpoints = self._stack.enter_context(Checkpoints(*saved))
        if self._claim.damaged:
            _set_aside(config, self._claim.damaged)
        if self._claim.damaged or ended:
            step = self.result["steps"] if self.result else 0
            identity.write(directory, self.run.resolved, self._claim, step)
        if broken:
            _set_aside(directory / "result.json", broken.why)
        if not ended:
            self._ended, self.result = self.result, None

    def __exit__(self, *error: Any) -> None:
        with explained(self.run.directory, "write"):  # closing retries what a full disk refused
            self._stack.__exit__(*error)

    def _take_up_result(self) -> Unreadable | None:
        """Reads the result of a run that has ended; returns what is wrong with a result.json that
        cannot be read.
        """
        try:
            result = records.read_result(self.run.directory)
        except Unreadable as broken:
            return broken
        self.result = result if result and result["status"] in FINISHED else None
        return None

    def _is_longer(self, result: Mapping[str, Any]) -> bool:
        """Whether a run that has ended is now asked to go on to a later end. Raises UserError where
        it cannot.
        """
        directory = self.run.directory
        if self._claim.other_files:
            dataset = self.run.task.dataset
            if result.get("text", dataset.identity) != dataset.identity:
                raise UserError(
                    f"{directory} was trained on other text than config.data gives; {OTHER}"
                )
        if self._claim.moves_end and result["status"] != "complete":
            raise UserError(
                f"{directory} {result['status']} at step {result['steps']}, and no other end mends "
                f"that; {OTHER}"
            )
        return self._claim.moves_end

    def wait(self) -> None:
        """Waits until the last save is committed. Raises UserError where it failed."""
        if self.result is None:
            self._checkpoints.wait()

    @property
    def saving(self) -> int | None:
        """The step of the save under way, None where none is; for any thread."""
        return self._checkpoints.saving if self.result is None else None

    @property
    def identity(self) -> str:
        """The name of the run, by which its checkpoints know it."""
        return self._claim.identity

    def newest(self, at_most: int | None = None) -> Place:
        """The newest step (of at_most or before) from which the run can go on, 0 where that is its
        start.

        It is the newest commit, or one at most an interval of checkpoints older, that agrees with
        metrics.jsonl; where none agrees, the newest.
        """
        lines, newest = self._read_lines(), None
        for record in self._checkpoints.commits(at_most):
            if wrong := fault_of(record.extra):
                folder = self.run.directory / f"checkpoints/step_{record.step:08d}"
                raise UserError(
                    f"{folder}: its manifest was edited ({wrong}); delete that folder to go on "
                    "without it"
                )
            place = place_of(record.step, record.extra)
            newest = newest or place
            if newest.step - place.step > self.run.experiment.train.checkpoint_every_steps:
                break
            if history.agree(lines, record.extra):
                return place
        return newest or self._start(at_most)

    def _start(self, at_most: int | None) -> Place:
        """Where the run begins: at step 0, or as a branch."""
        step = self.run.experiment.train.branch_step or 0
        if not step or (at_most is not None and step > at_most):
            return Place(0)
        return place_of(step, self._origin.extra)

    @cached_property
    def _origin(self) -> Origin:
        """The trunk's checkpoint at which a branch begins. Raises UserError."""
        return branch.find(self.run)

    def _begins(self, step: int) -> bool:
        """Whether the run has no commit of this step, which is that of its trunk."""
        newest = next(self._checkpoints.commits(step), None)
        return step > 0 and (newest is None or newest.step != step)

    def _read_lines(self) -> list[bytes]:
        """The lines of metrics.jsonl, read once before training goes on."""
        if self._lines is None:
            self._lines = history.read_lines(self.run.directory)
        return self._lines

    def restore(self, step: int, abstract_state: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """(state, extra) of the commit of a step that `newest` gave."""
        folder, stored, extra = self._saved(step)
        with explained(folder, "read"):  # a trunk may be gone by now
            return arrays.read_arrays(folder, stored, abstract_state), extra

    def _saved(self, step: int) -> tuple[Path, dict[str, str], dict[str, Any]]:
        """(folder, description of its arrays, extra) of the commit of a step."""
        if self._begins(step):
            return self._origin.folder, self._origin.arrays, self._origin.extra
        record = next(self._checkpoints.commits(step))
        return self._checkpoints.folder(record), record.arrays, record.extra

    def begin(
        self,
        program: Program,
        feed: Feed,
        base: str,
        population: str,
        step: int,
        extra: Mapping[str, Any],
    ) -> None:
        """Takes up the counters of a checkpoint's `extra`, or those of step 0, and opens the
        records there.

        Later checkpoints are discarded. `population` names the runs that it is trained with.

        Raises UserError where the run would not go on as it began: on other text (`feed` is what it
        reads), on other frozen parameters (`base` is their hash), or to another end, as when this
        release counts the FLOPs of a step otherwise. More steps are allowed if the schedule has had
        the same rates so far.
        """
        origin = self._origin if self._begins(step) else None
        if origin:
            origin.check(self.run.task.update, program.steps, feed.dataset.identity, base)
        self._check_begun(program, base, step, extra)
        newest = next(self._checkpoints.commits(), None)
        lines, self._lines = self._read_lines(), None
        last = newest.extra if newest else {}
        kept = origin.lines if origin else None
        if kept is None:
            kept = history.lines_to_keep(self.run.directory, lines, step, extra, last)
        self._checkpoints.rewind(0 if origin else step)
        carried.keep(self.run.directory, self.run.experiment, self.run.task.text)
        identity.write(self.run.directory, self.run.resolved, self._claim, step, self._ended)
        self._claim, self._ended = identity.Claim(self._claim.identity), None
        self._program, self._feed, self._base, self._population = program, feed, base, population
        self._branched = int(extra.get(BRANCHED, 0))
        self._lost = step_metrics.Lost(**extra.get(LOST_STEPS, {}))
        self._bytes = round(extra.get("bytes", 0))
        self._seconds = float(extra.get("seconds", 0.0))
        self._compile_seconds = float(extra.get("compile_seconds", 0.0))
        self._since_log: Sums = dict(extra.get("since_log", {}))
        self._final: dict[str, float] = dict(extra.get("final", {}))
        self._evaluated_step = -1
        self._paced_tokens, self._paced_seconds = 0, 0.0
        self._opened.close()
        self._opened = self._stack.enter_context(ExitStack())
        metrics = records.Metrics(self.run.directory, kept, flat(self.run.resolved))
        self._metrics = self._opened.enter_context(metrics)
        records.write_environment(self.run.directory, self.run.task.text.revisions)

    @property
    def held_out(self) -> float:
        """The held-out loss of the newest evaluation, in nats a token."""
        return self._final["eval/heldout/nll"]

    def compiled(self, seconds: float) -> None:
        """Adds seconds of compiling, which are not training time."""
        if self.result is None:
            self._compile_seconds += seconds

    def _check_begun(
        self, program: Program, base: str, step: int, extra: Mapping[str, Any]
    ) -> None:
        """Raises UserError where the run began otherwise, by a checkpoint's `extra`."""
        place = self.run.directory
        remedy = f"go on with the versions in environment.json, or {OTHER}"
        if self._claim.moves_end:
            if self._ended is not None and not step:
                raise UserError(f"{place} is complete and has no checkpoint to go on from; {OTHER}")
            check_end(self.run, extra.get("steps", program.steps), program.steps, step)
        elif extra.get("steps", program.steps) != program.steps:
            counts = f"{extra['steps']} steps, and the budget now makes {program.steps}"
            raise UserError(f"{place}: its checkpoint is of a run of {counts}; {remedy}")
        check_text(place, self.run.task.text, extra)
        if extra.get("base", base) != base:
            raise UserError(
                f"{place}: its adapter was trained on other parameters than config.train.initial "
                "gives now; put those back, or choose another directory"
            )

    def log(
        self, first_step: int, metrics: Mapping[str, np.ndarray], seconds: float, rate: float
    ) -> None:
        """Records the metrics [K] of the steps from first_step on, which took `seconds` at `rate`
        tokens a second.
        """
        if self.result is not None:
            return
        self._seconds += seconds
        self._paced_tokens += len(metrics["nll"]) * self._program.targets_per_step
        self._paced_seconds += seconds
        train = self.run.experiment.train
        self._lost, diverged_at = step_metrics.count(self._lost, metrics, train.nonfinite)
        if diverged_at is not None:
            self._diverge(first_step + diverged_at + 1, "the loss or its gradient")
            return
        step = first_step + len(metrics["nll"])
        sums = step_metrics.sums_of(metrics)
        self._bytes += round(sums.get("bytes", 0))
        self._since_log = {name: self._since_log.get(name, 0.0) + sums[name] for name in sums}
        means = rates(self._since_log)
        self.loss = means["nll"]
        if step % train.log_every_steps == 0 or step == self._program.steps:
            means = {f"train/{name}": value for name, value in means.items()}
            last = step_metrics.last_of(metrics, self._lost)
            self._final |= means if self._since_log["weight"] else {}
            self._since_log = {}
            self._checkpoints.confirm()
            line = {**self._position(step), **means, **last, "tokens_per_second": rate}
            self._metrics.write(line)

    def log_evaluation(
        self,
        step: int,
        sums: Mapping[str, Mapping[str, Any]],
        measured: Mapping[str, Mapping[str, float]],
        tasks: Mapping[str, Mapping[str, float]],
    ) -> None:
        """Records evaluations of the parameters after `step` steps: sums and metrics by the name of
        the evaluation, and scores of tasks by label.
        """
        if self.result is None and not np.isfinite(sums["heldout"]["nll"]):
            self._diverge(step, "the held-out loss")
        if self.result is None:
            evaluation = figures(sums, measured, tasks)
            self._final |= evaluation
            self._evaluated_step = step
            self._metrics.write({**self._position(step), **evaluation})
            if step < self._program.steps and (why := records.why_pruned(self.run.directory)):
                self._end("pruned", step, message=why)

    def save(self, step: int, state: PyTree) -> None:
        """Commits the state after `step` steps, in the background."""
        if self.result is None:
            lines = self._metrics.sync()
            extra = {
                "steps": self._program.steps,
                "text": self._feed.dataset.identity,
                "bytes": self._bytes,
                "seconds": self._seconds,
                "compile_seconds": self._compile_seconds,
                "since_log": self._since_log,
                "final": self._final,
            }
            extra |= {history.MARK: lines._asdict(), POPULATION: self._population}
            extra |= {"base": self._base} if self._base else {}
            extra |= {BRANCHED: self._branched} if self._branched else {}
            extra |= {LOST_STEPS: self._lost._asdict()} if self._lost.steps else {}
            if self.run.resolved["train"]["microbatches"] is None:
                extra |= {ACCUMULATION: self._program.accumulation._asdict()}
            score = self._final["eval/heldout/nll"] if self._evaluated_step == step else None
            self._checkpoints.save(step, state, extra, score, self._write)

    def close(self) -> None:
        """Writes the result, after the last commit."""
        if self.result is None:
            self._end("complete", self._program.steps)

    def _diverge(self, step: int, what: str) -> None:
        message = f"{what} is no longer finite at step {step}; lower config.optimizer.peak_rate"
        self._end("diverged", step, message=message)

    def _end(self, status: str, step: int, **more: str) -> None:
        self.result = {
            "status": status,
            "steps": step,
            **self._position(step),
            "bytes": self._bytes,
            "flops_per_token": self._program.flops_per_token,
            "params": self._program.params,
            "final": self._final,
            "seconds": self._seconds,
            "compile_seconds": self._compile_seconds,
            "tokens_per_second": self._paced_tokens / self._paced_seconds
            if self._paced_seconds
            else None,
            "text": self._feed.dataset.identity,
            "epochs": self._feed.epochs(step),
            **self._paid(step),
            **({LOST_STEPS: self._lost.steps} if self._lost.steps else {}),
            **more,
        }
        del self.result["step"]
        self._checkpoints.confirm()
        records.write_result(self.run.directory, self.result)

    def _paid(self, step: int) -> dict[str, int]:
        """FLOPs before training; of a branch its own, as the trunk has paid for the rest."""
        before = self._feed.reference_flops
        paid = {"reference_flops": before} if before else {}
        if self._branched:
            own = (step - self._branched) * self._program.flops_per_step
            paid |= {BRANCHED: self._branched, "paid_flops": own}
        return paid

    def _position(self, step: int) -> dict[str, float]:
        return {
            "step": step,
            "tokens": step * self._program.targets_per_step,
            "flops": step * self._program.flops_per_step,
        }


def _set_aside(path: Path, why: str) -> None:
    logger.warning(
        "%s: %s; set aside as %s, and written anew from the checkpoints", path, why, set_aside(path)
    )
