"""The compiled program of one or several runs, on their devices."""

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from lm_lab.engine import program as engines
from lm_lab.engine import sharding
from lm_lab.engine.program import Batch
from lm_lab.engine.state import FROZEN, TrainState, loaded, member, saved, saved_slots
from lm_lab.engine.step import How
from lm_lab.train import restore
from lm_lab.train.eval_sets import WholeTest, add_up, of_mixture, test_name
from lm_lab.train.experiment import Experiment
from lm_lab.train.feed import Feed, open_feed
from lm_lab.train.layout import lay_out, stack
from lm_lab.train.program import Program
from lm_lab.train.task import Task
from lm_lab.types import Examples, Hyper, PyTree, Sums


class CompiledProgram(NamedTuple):
    """A program on devices, for all members at once, and the data that they read.

    `engine` compiles a function at its first call. Arrays have a leading axis P, also for a single
    run.
    """

    program: Program
    engine: engines.CompiledEngine
    test: engines.Compiled  # as engine.evaluate, but with no batches set apart for selection
    mesh: Mesh
    abstract: TrainState  # of one run: shapes, dtypes and shardings
    placed: TrainState  # the shardings of the state of all members
    hyper: Hyper  # of all members
    feed: Feed
    whole: list[str]  # a line for each dimension that an axis of the mesh does not divide

    @property
    def members(self) -> int:
        """How many runs it trains."""
        return len(self.hyper["seed"])

    def warn(self) -> None:
        """Says on stderr which rows repeat, what the mesh does not divide, and microbatches that
        were chosen.
        """
        self.feed.warn_of_repeats(self.program.steps)
        parts, room = self.program.accumulation
        chosen = f"config.train.microbatches: {parts}, for {(room or 0) / 1e9:,.4g} GB a device"
        for line in [*self.whole, *([chosen] if room else [])]:
            print(line, file=sys.stderr, flush=True)

    def start(self) -> TrainState:
        """The state before step 0."""
        return self.engine.init(self.hyper, self.feed.given)

    def evaluate(self, state: TrainState, at_end: bool = False) -> list[dict[str, Sums]]:
        """Each member's sums on the held-out text, and with `at_end` on the test, by the name of
        the evaluation.
        """
        sets, tests = self.feed.eval_sets, self.feed.test_sets if at_end else []
        sums = [self._sums(self.engine.evaluate, state, each.examples) for each in sets]
        values = [of_mixture(sets, by_set) for by_set in zip(*sums)]
        if tests:
            test_sums = [self._test(state, each) for each in tests]
            for member, tested in zip(
                values, (of_mixture(tests, each) for each in zip(*test_sums))
            ):
                member |= {test_name(name): value for name, value in tested.items()}
        return values

    def _test(self, state: TrainState, test: WholeTest) -> list[dict[str, Sums]]:
        """Each member's sums on a test."""
        place = sharding.eval_set_sharding(self.mesh)
        parts = [
            self._sums(self.test, state, sharding.put(examples, place))
            for examples in test.chunks()
        ]
        return [add_up(sums) for sums in zip(*parts)]

    def _sums(
        self, evaluate: engines.Compiled, state: TrainState, examples: Examples
    ) -> list[dict[str, Sums]]:
        return split(jax.device_get(evaluate(state, examples)), self.members)

    def is_ready_to_evaluate(self) -> bool:
        """Whether an evaluation of the held-out text compiles nothing."""
        sets = self.feed.eval_sets
        return all(self.engine.evaluate.is_ready(each.examples) for each in sets)

    def compile_evaluation(self, state: TrainState) -> None:
        """Compiles the evaluation of the held-out text, which may take minutes."""
        for each in self.feed.eval_sets:
            if not self.engine.evaluate.is_ready(each.examples):
                self.engine.evaluate.compile(state, each.examples)

    def merged_params(self, state: TrainState, index: int) -> PyTree:
        """The parameters of one member's model, its adapter merged into them."""
        return self.program.merged_params(self._member(state, index))

    def evaluated_params(self, state: TrainState, index: int) -> dict[str, PyTree]:
        """All parameters of one member's model that are evaluated, by the ending of the
        evaluation's name.
        """
        evaluated = self.program.evaluated_params(self._member(state, index))
        return sharding.on_each(evaluated, self.mesh)

    def _member(self, state: TrainState, index: int) -> TrainState:
        return member(state._replace(opt_state=()), index, self.program.slots)

    def bases(self, state: TrainState) -> list[str]:
        """The hash of each member's frozen parameters; "" where there are none."""
        frozen = sharding.on_each(state.slots[FROZEN], self.mesh)
        if self.program.slots[FROZEN].shared:
            return [restore.hash_of(frozen)] * self.members
        return [restore.hash_of(of_member) for of_member in split(frozen, self.members)]

    def load(self, held: Sequence[PyTree]) -> TrainState:
        """The state of all members from what their checkpoints hold (`checkpoint_form`); slots that
        are not saved are initialised again.
        """
        slots, abstract = self.program.slots, self.abstract.slots
        unsaved = {name: abstract[name] for name in slots.keys() - saved_slots(slots)}
        if jax.tree.leaves(unsaved):
            begun = self.start().slots
            unsaved = {name: begun[name] for name in unsaved}
        join = jax.jit(
            lambda *members: jax.tree.map(lambda *leaves: jnp.stack(leaves), *members),
            out_shardings=saved(self.placed, slots),
        )
        return loaded(join(*held), unsaved)

    def held(self, state: TrainState) -> list[PyTree]:
        """What the checkpoint of each member holds, in copies: on the host, or on the devices where
        no process addresses them all.
        """
        held = saved(state, self.program.slots)
        if not sharding.is_shared(self.mesh):
            return split(jax.device_get(held), self.members)
        places = [saved(self.abstract, self.program.slots)] * self.members
        divide = jax.jit(
            partial(split, members=self.members),
            out_shardings=jax.tree.map(lambda leaf: leaf.sharding, places),
        )
        return divide(held)

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the state of all members."""
        return sharding.abstract(
            jax.eval_shape(self.engine.init.jitted, self.hyper, self.feed.given), self.placed
        )

    def checkpoint_form(self) -> dict[str, PyTree]:
        """Shapes, dtypes and shardings of what a checkpoint of one run holds."""
        return saved(self.abstract, self.program.slots)


def compile_program(
    tasks: Sequence[Task], how: How | None = None, check_memory: bool = True
) -> CompiledProgram:
    """The program of the tasks on their mesh (`lay_out`), with the data that they read.

    Raises UserError for a mesh that does not fit, data that cannot be read, and with `check_memory`
    for states that do not fit into memory.
    """
    laid, runs = lay_out(tasks, how, check_memory), [task.experiment for task in tasks]
    feed = open_feed(tasks[0], laid.program, {run.seed for run in runs})
    place = sharding.eval_set_sharding(laid.mesh)
    eval_sets = [
        each._replace(examples=sharding.put(each.examples, place)) for each in feed.eval_sets
    ]
    return CompiledProgram(
        laid.program,
        laid.engine._replace(batch=_reader(feed, runs, laid.mesh)),
        laid.test,
        laid.mesh,
        laid.abstract,
        laid.placed,
        laid.hyper,
        feed._replace(eval_sets=eval_sets),
        laid.whole,
    )


def _reader(feed: Feed, runs: Sequence[Experiment], mesh: Mesh) -> Batch:
    """(first step, steps, state) -> the examples of all members. Where several processes have the
    mesh, each reads the rows that its devices are trained on.
    """
    place = sharding.examples_sharding(mesh)
    rows = runs[0].train.batch_size

    def batch(first_step: int, steps: int, state: TrainState) -> Examples:
        del state  # the order of text does not depend on the state
        chunks = {seed: stream.chunk(first_step, steps) for seed, stream in feed.streams.items()}
        return stack([chunks[run.seed] for run in runs])

    def own_rows(first_step: int, steps: int, state: TrainState) -> Examples:
        del state
        shape = len(runs), steps, rows
        members, _, own = sharding.own_indices(place, shape)
        seeds = [runs[member].seed for member in members]
        chunks = {seed: feed.streams[seed].chunk(first_step, steps, own) for seed in {*seeds}}
        return sharding.from_own(stack([chunks[seed] for seed in seeds]), place, shape)

    return own_rows if sharding.is_shared(mesh) else batch


def split(tree: Any, members: int) -> list[Any]:
    """The trees of the members, from one with a leading axis of members."""
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(members)]
