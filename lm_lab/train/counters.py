"""What the checkpoint of a run holds beside the state: the `extra` of a commit."""

from collections.abc import Mapping
from typing import Any

from lm_lab.runs import history
from lm_lab.runs.reading import NUMBER, misfit
from lm_lab.train.program import Accumulation
from lm_lab.train.run import Place

BRANCHED = "branch_step"  # the step at which a branch left its trunk; absent where there is none
LOST_STEPS = "lost_steps"  # that were not finite and trained nothing (lost.py); absent without
ACCUMULATION = "accumulation"  # where microbatches were chosen (microbatches.py)
POPULATION = "company"  # the name of the runs that it was trained with (population.py)
COUNTERS = {
    "steps": int,
    "text": str,
    "base": str,
    POPULATION: str,
    "bytes": NUMBER,
    "seconds": NUMBER,
    "compile_seconds": NUMBER,
    "since_log": dict,
    "final": dict,
    BRANCHED: int,
    LOST_STEPS: dict,
    ACCUMULATION: dict,
    history.MARK: dict,
}


def place_of(step: int, extra: Mapping[str, Any]) -> Place:
    """The place at a commit of a step, or in a run from which one branches off."""
    chosen = extra.get(ACCUMULATION)
    return Place(step, extra.get(POPULATION, ""), Accumulation(**chosen) if chosen else None)


def fault_of(extra: Mapping[str, Any]) -> str | None:
    """What is wrong with the counters in a commit, where no run can have written them; None if they
    fit.
    """
    wrong = misfit(extra, COUNTERS)
    if wrong:
        return wrong
    numbers = {**extra.get("since_log", {}), **extra.get("final", {})}
    mark = extra.get(history.MARK, {"lines": 0, "sha256": ""})
    if mark.keys() != {"lines", "sha256"}:
        return f"{history.MARK} is {mark}"
    counts = extra.get(LOST_STEPS, {"steps": 0, "row": 0})
    if counts.keys() != {"steps", "row"}:
        return f"{LOST_STEPS} is {counts}"
    chosen = extra.get(ACCUMULATION, Accumulation(1, 1.0)._asdict())
    if chosen.keys() != set(Accumulation._fields):
        return f"{ACCUMULATION} is {chosen}"
    return (
        misfit(numbers, dict.fromkeys(numbers, NUMBER))
        or misfit(mark, {"lines": int, "sha256": str})
        or misfit(counts, {"steps": int, "row": int})
        or misfit(chosen, {"microbatches": int, "memory_bytes": NUMBER})
    )
