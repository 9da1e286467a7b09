"""How many frames lie between a command and the mathematics."""

import traceback
from pathlib import Path

import lm_lab
from lm_lab.cli import train
from lm_lab.library import devices
from lm_lab.objectives import causal
from tests import tiny

PACKAGE = Path(lm_lab.__file__).parent


def test_from_the_command_to_the_loss_inside_the_gradient_are_few_frames_in_few_files(
    tmp_path, monkeypatch
):
    stacks, make = [], causal.OBJECTIVE.make

    def observed(*settings):
        made = make(*settings)

        def loss(logits, batch):
            stacks.append(traceback.extract_stack())
            return made.loss(logits, batch)

        return made._replace(loss=loss)

    monkeypatch.setattr(causal, "OBJECTIVE", causal.OBJECTIVE._replace(make=observed))
    monkeypatch.setattr(devices, "start", lambda mesh: None)  # the suite has started them
    config = tiny.config({"train.steps": 2}).to_dict()
    file = tmp_path / "tiny.py"
    file.write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n"
        f"    return ConfigDict({config!r})\n"
    )
    assert train.run([f"--config={file}", f"--workdir={tmp_path / 'run'}"]) == 0
    ours = [
        [frame for frame in stack if Path(frame.filename).is_relative_to(PACKAGE)]
        for stack in stacks
    ]
    trained = [frames for frames in ours if "compile" in [f.name for f in frames]]
    to_gradient = [frames for frames in trained if frames[-1].filename.endswith("engine/step.py")]
    assert to_gradient
    for frames in to_gradient:
        assert len(frames) <= 8, [f"{frame.filename}:{frame.name}" for frame in frames]
        assert len({frame.filename for frame in frames}) <= 4
