"""`lm-lab merge`: an adapter and its base as one model, and the adapter alone for PEFT."""

import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from lm_lab import config as configs
from lm_lab.cli import merge
from lm_lab.cli.main import dispatch
from lm_lab.data import loader, vocabularies
from lm_lab.data.text import Text
from lm_lab.interop import folder, peft
from lm_lab.library import devices, writing
from lm_lab.runs import arrays, commits
from lm_lab.runs.config import write_config
from lm_lab.schema import build
from lm_lab.train import carried, identity, restore, trained_on
from lm_lab.train.evaluate import evaluate
from lm_lab.train.loop import train
from lm_lab.train.run import Run
from lm_lab.types import UserError
from tests import tiny

GPT2 = {
    "model.norm": "layer",
    "model.norm_bias": True,
    "model.positions": "learned",
    "model.bias": "all",
    "model.tied": True,
}
SHORT = {"train.steps": 2, "data.source.documents": 16, "train.average_decay": 0.5}
LEARNS = {"data.tokenizer": "characters"}


def run_in(directory, changes):
    train([Run(*tiny.resolve(GPT2 | SHORT | changes), directory)])
    return directory


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(a run, one that adapts it)."""
    place = tmp_path_factory.mktemp("runs")
    base = run_in(place / "base", LEARNS)
    lora = {"adapter.name": "lora", "adapter.rank": 2, "train.initial": str(base)}
    return base, run_in(place / "lora", lora)


def test_what_is_merged_is_a_run_like_another(runs, tmp_path, capsys):
    target = tmp_path / "merged"
    assert dispatch(["merge", f"--workdir={runs[1]}", f"--to={target}"]) == 0
    assert "rounding loses" in capsys.readouterr().out
    assert tiny.same_bits(restore.load_params(target)[2], restore.load_params(runs[1])[2])
    values = restore.read_config(target)
    resolved = configs.resolve(ConfigDict(restore.read_run(target)), stored=True)[1]
    assert carried.relative(resolved) == values  # what generate, evaluate and train.initial go by


def test_the_average_is_what_generate_merge_and_convert_take_with_average(
    runs, tmp_path, monkeypatch, capsys
):
    """(of an adapter the average of the adapter alone, beside the base)"""
    base, lora = (restore.load_params(run, average=True)[2] for run in runs)
    assert not tiny.same_bits(lora, restore.load_params(runs[1])[2])
    merge = ["merge", f"--workdir={runs[1]}", "--average", f"--to={tmp_path / 'merged'}"]
    assert dispatch(merge) == 0
    assert tiny.same_bits(restore.load_params(tmp_path / "merged")[2], lora)
    whole = ["merge", f"--workdir={runs[0]}", "--average", f"--to={tmp_path / 'whole'}"]
    assert dispatch(whole) == 0
    assert tiny.same_bits(restore.load_params(tmp_path / "whole")[2], base)
    convert = ["convert", f"--from={runs[0]}", "--average", f"--to={tmp_path / 'foreign'}"]
    assert dispatch(convert) == 0
    assert tiny.same_bits(folder.load(tmp_path / "foreign")[2], base)

    def params(writer, texts, settings):
        return [(text, str(tiny.same_bits(writer.params, lora))) for text in texts]

    monkeypatch.setattr(writing.Writer, "texts", params)
    monkeypatch.setattr(devices, "start", lambda mesh: None)  # the suite has started them
    capsys.readouterr()
    words = ["generate", f"--workdir={runs[1]}", "--prompt=a", "--prompt=b"]
    for flags, taken in (["--average"], "True"), ([], "False"):
        assert dispatch([*words, *flags]) == 0
        assert capsys.readouterr().out.split() == [f"a{taken}", f"b{taken}"]


def test_what_the_adapter_freeze_trained_is_merged_also_where_it_froze_nothing(runs, tmp_path):
    changes = {"adapter.name": "freeze", "adapter.train": ("*",), "train.initial": str(runs[0])}
    run = run_in(tmp_path / "run", changes)
    assert dispatch(["merge", f"--workdir={run}", f"--to={tmp_path / 'whole'}", "--average"]) == 0
    there = restore.load_params(run, average=True)[2]
    assert tiny.same_bits(restore.load_params(tmp_path / "whole")[2], there)


def test_the_tokenizer_goes_along_and_every_path_is_the_runs_own(runs, tmp_path, monkeypatch):
    dispatch(["merge", f"--workdir={runs[1]}", f"--to={tmp_path / 'merged'}"])
    moved = [tmp_path / "elsewhere" / name for name in ("base", "lora", "merged")]
    for place, target in zip((*runs, tmp_path / "merged"), moved):
        shutil.copytree(place, target)
    there = Text(_read(runs[0])).codec
    monkeypatch.setenv("LM_LAB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(vocabularies, "_texts", lambda *_: pytest.fail("it learns again"))
    assert [Text(_read(place)).codec.identity for place in moved] == 3 * [there.identity]
    assert not any(
        str(runs[0]) in (place / "config.json").read_text() for place in (moved[0], moved[2])
    )
    runs[0].rename(runs[0].with_name("away"))  # the base is found beside the run that began with it
    try:
        assert tiny.same_bits(restore.load_params(moved[1])[2], restore.load_params(moved[2])[2])
    finally:
        runs[0].with_name("away").rename(runs[0])


def test_what_was_not_trained_here_is_not_evaluated_as_a_run(runs, tmp_path):
    dispatch(["merge", f"--workdir={runs[1]}", f"--to={tmp_path / 'merged'}"])
    experiment, values = configs.resolve(
        ConfigDict(restore.read_run(tmp_path / "merged")), stored=True
    )
    with pytest.raises(
        UserError,
        match="merged holds a model that convert or merge wrote, and no state of training",
    ):
        evaluate(Run(experiment, values, tmp_path / "merged"))
    with pytest.raises(UserError, match="train in another directory"):
        identity.claim(tmp_path / "merged", values)
    assert trained_on.text_of(tmp_path / "merged") == trained_on.text_of(runs[1])


def test_the_model_that_a_merged_one_is_compared_with_stays_named(tmp_path):
    for name, kept in ("dpo", str(tmp_path)), ("causal", None), ("alone", None):
        (tmp_path / name).mkdir()
        values = {"objective": {"name": name}, "train": {"initial": str(tmp_path)}}
        write_config(tmp_path / name, {} if name == "alone" else values)
        restore.write_params(tmp_path / name, {"a": np.zeros(1)})
        merge.write(tmp_path / name, tmp_path / f"{name}_merged", {"a": np.zeros(1)})
        merged = restore.read_config(tmp_path / f"{name}_merged")
        assert merged.get("train", {}).get("initial") == kept


def _read(place):
    return build(loader.Config, restore.read_run(place)["data"], "data")


def test_the_adapter_alone_is_what_peft_reads(runs, tmp_path):
    assert (
        dispatch(["merge", f"--workdir={runs[1]}", f"--to={tmp_path / 'adapter'}", "--form=peft"])
        == 0
    )
    family, config, own = restore.load_adapter(runs[1])
    settings, adapters = peft.load(tmp_path / "adapter", family, config)
    rows = own.trained["lora"]["layers"]["attention"]["out"]["down_kernel"]
    assert np.array_equal(adapters["layers"]["attention"]["out"]["down_kernel"], rows)
    assert (settings.rank, settings.alpha) == (2, 16.0)
    # Query, key and value, trained apart, are one module of PEFT's.
    assert adapters["layers"]["attention"]["query"]["down_kernel"].shape[-1] == 6


def test_mistakes_are_named(runs, tmp_path):
    base, lora = runs
    target = tmp_path / "merged"
    with pytest.raises(UserError, match="--to=FOLDER is missing"):
        dispatch(["merge", f"--workdir={lora}"])
    with pytest.raises(UserError, match="trained no adapter, but all parameters"):
        dispatch(["merge", f"--workdir={base}", f"--to={target}"])
    with pytest.raises(UserError, match="is taken"):
        dispatch(["merge", f"--workdir={lora}", f"--to={base}"])
    assert not target.exists()


def test_the_mean_of_checkpoints_is_a_model_that_other_commands_take(tmp_path, capsys):
    place, target = tmp_path / "run", tmp_path / "mean"
    every = {"train.steps": 3, "train.checkpoint_every_steps": 1, "train.keep_checkpoints": 3}
    run_in(place, every)
    each = [
        arrays.read_subtree(folder, "params")
        for folder in commits.committed(place / "checkpoints")[:2]
    ]
    assert dispatch(["merge", f"--workdir={place}", f"--to={target}", "--checkpoints=2"]) == 0
    assert "decoder, the mean of" in (said := capsys.readouterr().out)
    assert said.endswith("at steps 2, 3\n")
    mean = jax.tree.map(lambda a, b: ((a.astype(float) + b) / 2).astype(a.dtype), *each)
    assert tiny.same_bits(restore.load_params(target)[2], mean)
    text = tmp_path / "text"
    text.write_text("abab" * 20)
    assert dispatch(["evaluate", f"--workdir={target}", f"--text={text}"]) == 0
    with pytest.raises(UserError, match=r"3 checkpoints that are whole, and not 4; .*=4, or ask"):
        dispatch(["merge", f"--workdir={place}", f"--to={target}4", "--checkpoints=4"])
    with pytest.raises(UserError, match="leave out --average and --form"):
        dispatch(["merge", f"--workdir={place}", f"--to={target}4", "--checkpoints=2", "--average"])
    assert not (tmp_path / "mean4").exists()


def test_checkpoints_of_an_adapter_have_no_mean(runs, tmp_path):
    with pytest.raises(UserError, match="trained an adapter"):
        dispatch(["merge", f"--workdir={runs[1]}", f"--to={tmp_path}/mean", "--checkpoints=1"])
