"""Which of several unfinished runs are trained together next: after a kill, or an earlier launch
with other runs, they may be at different steps.
"""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

from lm_lab.train.program import Accumulation
from lm_lab.train.task import Task
from lm_lab.train.writer import RunWriter


class Population(NamedTuple):
    """Runs that are trained together as the members of one program."""

    members: list[RunWriter]
    step: int  # at which all of them begin
    until: int | None  # the step at which further runs join them; None if none do
    accumulation: Accumulation | None  # that they were trained with; None: they differ, or begin

    @property
    def name(self) -> str:
        """A hash of the members' identities, which their checkpoints store."""
        return name_of(self.members)


def name_of(members: Sequence[RunWriter]) -> str:
    """12 hex digits of the SHA-256 of their identities, in any order."""
    return hashlib.sha256(
        " ".join(sorted(member.identity for member in members)).encode()
    ).hexdigest()[:12]


def next_population(members: Sequence[RunWriter]) -> Population:
    """The members that are furthest behind, until they reach the next ones, so that no step is
    computed twice.

    All members, if they are at one step, or if they were trained together and killed while they
    saved. Those begin at the newest step that all of them have, and end in the same bits as an
    undisturbed run, even on accelerators, where bits depend on the number of members.
    """
    newest = [member.newest() for member in members]
    first, last = min(place.step for place in newest), max(place.step for place in newest)
    common = first
    while any((step := member.newest(common).step) != common for member in members):
        common = step
    chosen = {place.accumulation for place in newest}
    before = chosen.pop() if len(chosen) == 1 else None
    together = {place.population for place in newest if place.step} == {name_of(members)}
    interval = members[0].run.experiment.train.checkpoint_every_steps
    if common == last or (together and last - common <= interval):
        return Population(list(members), common, None, before)
    behind = [member for member, place in zip(members, newest) if place.step == first]
    until = min((place.step for place in newest if place.step > first), default=None)
    return Population(behind, first, until, before)


def fitted(tasks: Sequence[Task], launched: int) -> list[Task]:
    """The tasks with a smaller mesh.population where fewer runs are left than were launched
    together, so that it divides their number.
    """
    if len(tasks) == launched:
        return list(tasks)
    divisor = math.gcd(len(tasks), tasks[0].experiment.mesh.population)

    def narrowed(task: Task) -> Task:
        return task.replace(mesh=dataclasses.replace(task.experiment.mesh, population=divisor))

    return [narrowed(task) for task in tasks]
