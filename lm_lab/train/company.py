"""Which of some unfinished runs are trained together next: kills, and launches in other company,
leave them at different steps.
"""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

from lm_lab.train.task import Task
from lm_lab.train.writer import RunWriter


class Company(NamedTuple):
    """Members that are trained together."""

    members: list[RunWriter]
    step: int  # at which all of them begin
    until: int | None  # at which others wait for them; None where nobody does

    @property
    def name(self) -> str:
        """A hash of who they are, which their checkpoints remember."""
        return name_of(self.members)


def name_of(members: Sequence[RunWriter]) -> str:
    """12 hex digits of the SHA-256 of their identities, in any order."""
    return hashlib.sha256(
        " ".join(sorted(member.identity for member in members)).encode()
    ).hexdigest()[:12]


def gather(members: Sequence[RunWriter]) -> Company:
    """Those that are furthest behind, until they reach the next, so that nobody loses a step.

    All of them where they are at one step, or were trained together and a kill came while they
    saved: they then begin at the newest step that all have, and end in the bits of an undisturbed
    company also where these depend on its size, as on an accelerator.
    """
    newest = [member.newest() for member in members]
    first, last = min(place.step for place in newest), max(place.step for place in newest)
    common = first
    while any((step := member.newest(common).step) != common for member in members):
        common = step
    together = {place.company for place in newest if place.step} == {name_of(members)}
    interval = members[0].run.experiment.train.checkpoint_every_steps
    if common == last or (together and last - common <= interval):
        return Company(list(members), common, None)
    behind = [member for member, place in zip(members, newest) if place.step == first]
    return Company(
        behind, first, min((place.step for place in newest if place.step > first), default=None)
    )


def fitted(tasks: Sequence[Task], launched: int) -> list[Task]:
    """The tasks, on as many devices as divide them where they are fewer than were launched
    together.
    """
    if len(tasks) == launched:
        return list(tasks)
    population = math.gcd(len(tasks), tasks[0].experiment.mesh.population)

    def narrowed(task: Task) -> Task:
        return task.replace(mesh=dataclasses.replace(task.experiment.mesh, population=population))

    return [narrowed(task) for task in tasks]
