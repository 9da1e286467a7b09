"""Checks of settings that each module takes alone, and that do not agree."""

from collections.abc import Mapping

from lm_lab.contracts import Family, Objective
from lm_lab.train.experiment import Experiment
from lm_lab.types import ObjectiveFunctions, UserError


def loss_chunk(name: str, objectives: Mapping[str, ObjectiveFunctions]) -> None:
    """Raises UserError where a loss cannot be taken of a part of the positions."""
    for other, functions in objectives.items():
        if not functions.by_position:
            where = f"config.objective.name {name!r}"
            if other != "heldout":
                where = f"config.train.also_evaluate: {other!r}"
            raise UserError(
                f"config.train.loss_chunk: {where} has a loss that is no sum over positions; leave "
                "loss_chunk out"
            )


def carry(experiment: Experiment, family: Family, kind: Objective) -> None:
    """Raises UserError for a run that has no state to carry, or no text that reads on."""
    name, data = experiment.model.name, experiment.data
    if not family.is_recurrent(experiment.model.settings):
        fault = (
            f"config.model.family {name!r} keeps no state with these settings: rnn does, "
            "state_space without attention, and a decoder with model.window"
        )
    elif not kind.reads_on:
        fault = f"config.objective.name {experiment.objective.name!r} reads no text on"
    elif data.sources:
        fault = "config.data.sources is a mixture, whose rows change their text from step to step"
    elif data.packing != "cut":
        fault = f"config.data.packing {data.packing!r} puts documents in an order of its own"
    elif experiment.evaluation.stride is not None:
        fault = "config.evaluation.stride is for windows, and whole texts are read in one pass"
    else:
        return
    raise UserError(f"config.train.carry_state: {fault}; leave one of the two out")
