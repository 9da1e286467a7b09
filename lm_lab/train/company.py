"""Which of some unfinished runs are trained together next: kills, and launches in other company, leave them at
different steps."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from lm_lab.train.member import Member, Run


class Company(NamedTuple):
    """Members that are trained together."""

    members: list[Member]
    step: int  # at which all of them begin
    until: int | None  # at which others wait for them; None where nobody does


def gather(members: Sequence[Member]) -> Company:
    """All of them, from the newest step that all can begin at, where none so loses more than an interval of
    checkpoints: what a kill leaves of a company, and it then goes on as before. Else those that are furthest behind,
    until they reach the next.
    """
    newest = [member.newest() for member in members]
    common = min(newest)
    while any((step := member.newest(common)) != common for member in members):
        common = step
    if max(newest) - common <= members[0].run.experiment.train.checkpoint_every_steps:
        return Company(list(members), common, None)
    first = min(newest)
    behind = [member for member, step in zip(members, newest) if step == first]
    return Company(behind, first, min((step for step in newest if step > first), default=None))


def fitted(runs: Sequence[Run], launched: int) -> list[Run]:
    """The runs, on as many devices as divide them where they are fewer than were launched together."""
    if len(runs) == launched:
        return list(runs)
    population = math.gcd(len(runs), runs[0].experiment.mesh.population)

    def narrowed(run: Run) -> Run:
        mesh = dataclasses.replace(run.experiment.mesh, population=population)
        return run._replace(experiment=dataclasses.replace(run.experiment, mesh=mesh))

    return [narrowed(run) for run in runs]
