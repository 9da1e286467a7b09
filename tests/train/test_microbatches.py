"""Microbatches that are chosen by memory: as few as fit, found by few looks."""

import numpy as np
import pytest

from lm_lab import config as configs
from lm_lab.compute.memory import Memory
from lm_lab.runs.checkpoint import Checkpoints
from lm_lab.train import identity, microbatches
from lm_lab.train.layout import Layout
from lm_lab.train.microbatches import fewest, settle
from lm_lab.train.program import Accumulation
from lm_lab.train.task import bind
from lm_lab.types import UserError
from tests import tiny

PARTS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 96]


@pytest.mark.parametrize("wanted", PARTS)
def test_the_fewest_that_fit_are_found_by_few_looks(wanted):
    looks = []

    def peak(parts):  # a state, sums of gradients where there are parts, and activations
        looks.append(parts)
        return 100 + 20 * (parts > 1) + 960 / parts

    assert fewest(PARTS, peak, peak(wanted)) == wanted
    assert len(set(looks)) <= 5
    assert fewest(PARTS, peak, 100) is None


def test_a_run_goes_on_with_the_number_that_was_chosen_for_it_and_no_other(tmp_path):
    def claim(number):
        resolved = configs.resolve(tiny.config({"train.microbatches": number}))[1]
        return resolved, identity.claim(tmp_path, resolved)

    asked = claim(None)
    identity.write(tmp_path, *asked)
    extra = {"accumulation": Accumulation(4, 1e9)._asdict()}
    with Checkpoints(tmp_path / "checkpoints", 1, asked[1].identity) as checkpoints:
        checkpoints.save(1, {"step": np.zeros(1)}, extra, None)
    assert claim(4)[1].identity == asked[1].identity
    with pytest.raises(UserError, match=r"train\.microbatches is null there and 2 here"):
        claim(2)


@pytest.mark.parametrize(
    "before",
    [
        None,
        Accumulation(4, 2e9),  # there was more memory
        Accumulation(3, 1e9),  # there were three devices
    ],
)
def test_the_number_is_chosen_anew_where_it_cannot_stay(monkeypatch, before):
    changes = {"train.microbatches": None, "train.memory_bytes": 1e9}
    task = bind(*configs.resolve(tiny.config(changes)))
    monkeypatch.setattr(microbatches, "fewest", lambda parts, peak, room: parts[1])
    (settled,) = settle([task], before)
    assert settled.experiment.train.microbatches == settled.values["train"]["microbatches"] == 2
    assert settle([task], Accumulation(4, 1e9))[0].experiment.train.microbatches == 4
    monkeypatch.setattr(microbatches, "fewest", lambda parts, peak, room: None)
    monkeypatch.setattr(
        microbatches.memory, "compiled_memory", lambda step: Memory(0, 0, 0, 0, 2 * 10**9)
    )
    monkeypatch.setattr(Layout, "compile_step", lambda self, task: None)
    with pytest.raises(UserError, match="at most 8 are possible, of 1 rows, and a step then takes"):
        settle([task], before)
