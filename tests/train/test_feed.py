"""The feed of a run: `plan` and `train` refuse the same mistakes in the same words."""

import json

import numpy as np
import pytest

from lm_lab.data.text import Text
from lm_lab.train import loop
from lm_lab.train.plan import plan
from lm_lab.train.run import Run
from lm_lab.types import UserError
from tests import tiny


@pytest.fixture
def text(tmp_path):
    """A single text file."""
    path = tmp_path / "only.txt"
    path.write_text("".join(f"line {number} of the only text\n" for number in range(400)))
    return path


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"data.source.path": "nowhere.txt"},
            "config.data.source.path: no file or folder 'nowhere.txt'",
        ),
        ({"data.length": 3000}, "config.data.length: the train text has"),
        (
            {"train.selection_batches": 900},
            "config.train.selection_batches: the held-out text has",
        ),
        ({"train.initial": "nowhere"}, "nowhere: no such folder"),
    ],
)
def test_what_training_refuses_planning_refuses(text, tmp_path, changes, message):
    data = {"source": {"name": "text", "path": str(text)}, "length": 16}
    experiment, resolved = tiny.resolve({"data": data} | changes)
    with pytest.raises(UserError) as refused:
        plan(tiny.bound(experiment))
    assert message in str(refused.value)
    with pytest.raises(UserError) as trained:
        loop.train([Run(experiment, resolved, tmp_path / "run")])
    assert str(trained.value) == str(refused.value)


def test_of_a_single_file_the_end_is_held_out_and_that_is_said(text, capsys):
    experiment, resolved = tiny.resolve(
        {"data": {"source": {"name": "text", "path": str(text)}, "length": 16}}
    )
    assert resolved["data"]["split"] == "documents"
    opened = Text(experiment.data)
    opened.say_splits()
    dataset = opened.dataset
    assert dataset.only.tail
    whole = text.read_bytes()
    cut = int(0.9 * len(whole))
    assert bytes(dataset.train.tokens.astype(np.uint8)) == whole[:cut]
    assert bytes(dataset.heldout.tokens[:-1].astype(np.uint8)) == whole[cut:]
    assert "The text is one document: the last 10 % of it is held out" in capsys.readouterr().err


def test_training_documents_that_are_held_out_too_are_said_at_every_launch(tmp_path, capsys):
    path = tmp_path / "copies.jsonl"
    path.write_text("".join(json.dumps({"text": f"number {n}"}) + "\n" for n in range(30)))
    source = {"name": "jsonl", "path": str(path), "heldout_path": str(path)}
    for _ in range(2):  # the second finds the token store there
        experiment, _ = tiny.resolve({"data": {"source": source, "length": 16}})
        Text(experiment.data).say_splits()
        assert "30 training documents are also in the held-out text" in capsys.readouterr().err


def test_a_tokenizer_that_counts_other_bytes_is_said_at_every_launch(tmp_path, capsys):
    path = tmp_path / "korean.jsonl"
    path.write_text("".join(json.dumps({"text": f"정말 {n}"}) + "\n" for n in range(30)))
    data = {"source": {"name": "jsonl", "path": str(path)}, "length": 16}
    for form, message in ((None, ""), ("NFD", "counts 2.3"), ("NFD", "counts 2.3")):
        tokenizer = {"name": "characters", "normal_form": form}
        experiment, _ = tiny.resolve({"data": data | {"tokenizer": tokenizer}})
        Text(experiment.data).say_splits()
        said = capsys.readouterr().err
        assert message in said
        assert ("multiply bits per byte" in said) == (form is not None)
