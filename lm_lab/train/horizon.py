"""Whether a run that began with one horizon may go on to another."""

from lm_lab.train.run import BoundRun
from lm_lab.types import UserError


def check_end(run: BoundRun, before: int, steps: int, step: int) -> None:
    """Raises UserError where a run that has made `step` of `before` steps cannot end after `steps`:
    it is past them already, or would have had other rates.
    """
    directory, update = run.directory, run.task.update
    anew = (
        f"to begin another run with its parameters: --config.train.initial={directory} "
        "and another directory"
    )
    if step > steps:
        raise UserError(
            f"{directory} has made {step} steps, and config.train asks for {steps}; {anew}"
        )
    if not update.same_rates(before, steps, step):
        raise UserError(
            f"{directory} has made {step} of {before} steps, and a {run.experiment.schedule.name} "
            f"schedule of {steps} would have had other rates; to go on from a checkpoint before "
            f"they part: --config.train.branch_from={directory}, --config.train.branch_step and "
            f"another directory; {anew}"
        )
