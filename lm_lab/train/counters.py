"""What the checkpoint of a run holds beside the state: the `extra` of a commit."""

from collections.abc import Mapping
from typing import Any

from lm_lab.runs import history
from lm_lab.runs.reading import NUMBER, misfit

BRANCHED = "branch_step"  # the step at which a branch left its trunk; absent where there is none
LOST_STEPS = "lost_steps"  # that were not finite and trained nothing (lost.py); absent without
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
    history.MARK: dict,
}


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
    return (
        misfit(numbers, dict.fromkeys(numbers, NUMBER))
        or misfit(mark, {"lines": int, "sha256": str})
        or misfit(counts, {"steps": int, "row": int})
    )
