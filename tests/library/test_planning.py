"""The plan of a run for many devices, and the largest batch that fits into one."""

import jax
import pytest

from lm_lab.cli import plan as command
from lm_lab.compute.memory import compiled_memory
from lm_lab.train.layout import lay_out
from lm_lab.train.plan import largest_batch, plan
from lm_lab.types import UserError
from tests import tiny

pytestmark = pytest.mark.skipif(
    jax.device_count() < 8, reason="needs the 8 virtual devices of the suite"
)

MESH = {"mesh.data": 2, "mesh.fsdp": 4, "mesh.zero": 2}


def task_of(changes):
    return tiny.bound(tiny.resolve(MESH | {"model.depth": 1} | changes)[0])


def test_bytes_by_category_are_the_arguments_that_xla_plans():
    found = plan(task_of({}))
    state = sum(size for name, size in found.state_bytes.items() if name != "gradients")
    assert found.call is not None
    # beside the state: two steps of one row of 17 tokens, and the settings
    assert 0 < found.call.arguments - state - 2 * 17 * 4 < 64
    halves = found.state_bytes["parameters"] / found.state_bytes["gradients"]
    assert halves == pytest.approx(2, rel=0.01)  # the gradients are split over data, too


def test_the_largest_batch_fits_and_the_next_does_not():
    def peak(rows):
        laid = lay_out([task := task_of({"train.batch_size": rows})], check_memory=False)
        call = compiled_memory(laid.compile_step(task))
        assert call is not None
        return call.peak

    room = (peak(40) + peak(48)) / 2
    assert largest_batch(task_of, {}, room) == 40


def test_a_plan_for_devices_says_what_fits(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command.devices, "start", lambda mesh: None)  # the suite has started them
    config = tiny.config({"mesh.pipeline": 2}).to_dict()
    file = tmp_path / "tiny.py"
    file.write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n"
        f"    return ConfigDict({config!r})\n"
    )
    words = [f"--config={file}", "--devices=8", "--link_bytes_per_second=1e9"]
    assert command.run(words) == 0
    told = capsys.readouterr().out
    assert "of a step idle, 2 microbatches in 2 stages" in told
    for line in ("bytes a device (8 in the mesh)", "time of sending", "name the kind of device"):
        assert line in told
    with pytest.raises(UserError, match=r"--devices=7: the axes of config\.mesh take 2; leave out"):
        command.run([f"--config={file}", "--devices=7"])
