"""A run that is initialised from another takes over its model and tokenizer."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_lab import config as configs
from lm_lab.data import loader
from lm_lab.data.text import Text
from lm_lab.runs import commits
from lm_lab.runs.config import write_config
from lm_lab.schema import build
from lm_lab.train import carried, initial, restore
from lm_lab.train.task import bind
from lm_lab.types import UserError
from tests import tiny

TEXT = "data.source", "text"
SHAPE = {"model.norm": "layer", "model.tied": True, "model.dropout": 0.1}
BARE = {"train": {"steps": 2, "batch_size": 2}, "objective": {"name": "causal"}}


def base_in(place: Path, changes: dict) -> Path:
    """The directory of a run that ended, as far as another begins with it."""
    experiment, resolved = tiny.resolve(changes)
    place.mkdir()
    write_config(place, carried.relative(resolved))
    carried.keep(place, experiment, Text(experiment.data))
    shapes = restore.abstract_params(experiment.model.name, experiment.model.settings)
    restore.write_params(place, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
    return place


def beginning_with(place: Path, **data: object):
    """The experiment of a config that leaves model and tokenizer out."""
    values = BARE | {"data": {"source": "synthetic", "length": 16} | data}
    config = configs.override(configs.ConfigDict(values), {"train.initial": str(place)})
    return bind(*configs.resolve(config)).experiment


def test_what_a_config_does_not_say_is_the_bases(tmp_path):
    base = base_in(
        tmp_path / "base", SHAPE | {"data.tokenizer": "words", "data.tokenizer.most_words": 7}
    )
    found = beginning_with(base)
    stored = restore.load_params(base)[1]
    assert found.model == ("decoder", stored)
    assert (found.data.tokenizer.name, found.data.tokenizer.settings.most_words) == ("words", 7)
    assert initial.read(found, Text(found.data))


def test_what_was_learnt_is_not_learnt_again(tmp_path):
    base = base_in(tmp_path / "base", {"data.tokenizer": "characters", "data.source.symbols": 4})
    found = beginning_with(base, source={"name": "synthetic", "symbols": 9})
    tokenizers = [
        Text(_settings(place)).codec for place in (base, _keeping(tmp_path / "next", found))
    ]
    assert len({tokenizer.identity for tokenizer in tokenizers}) == 1
    other = configs.override(
        tiny.config({"data.source.symbols": 9}), {"data.tokenizer": "characters"}
    )
    assert Text(configs.resolve(other)[0].data).codec.vocab > tokenizers[0].vocab


def test_a_tokenizer_is_learnt_again_from_the_same_text_alone(tmp_path):
    base = base_in(tmp_path / "base", {"data.tokenizer": "characters"})
    shutil.rmtree(base / "tokenizer")  # as in the directories of releases that did not keep it
    experiment = configs.resolve(tiny.config({"data.tokenizer": "characters"}))[0]
    text = Text(experiment.data).dataset.identity
    for step, there in enumerate([text, "of another text"], 1):
        record = commits.Record(step, "", None, {"text": there}, {})
        commits.commit(base / "checkpoints", {"step": np.zeros(1)}, record, keep=1)
        if there == text:
            assert restore.read_run(base)
    for read in (restore.read_run, beginning_with):
        with pytest.raises(
            UserError,
            match=r"base: its tokenizer learnt from other text .* tokenizer/learnt is not",
        ):
            read(base)


def _settings(place: Path):
    return build(loader.Config, restore.read_run(place)["data"], "data")


def _keeping(place: Path, experiment) -> Path:
    place.mkdir()
    values = {
        "data": {"source": "synthetic", "tokenizer": "characters"},
        "model": {},
        "objective": {},
    }
    (place / "config.json").write_text(json.dumps(values))
    carried.keep(place, experiment, Text(experiment.data))
    return place


def test_another_tokenizer_is_refused_by_name(tmp_path):
    base = base_in(tmp_path / "base", {"data.tokenizer": "characters"})
    found = beginning_with(base, tokenizer="byte")
    with pytest.raises(
        UserError, match=r"config.data.tokenizer 'byte' is not that of .*, which has 'characters'"
    ):
        initial.read(found, Text(found.data))


def test_a_base_without_a_tokenizer_asks_for_one(tmp_path):
    base = base_in(tmp_path / "base", {})
    (base / "config.json").write_text(json.dumps({"model": restore.read_config(base)["model"]}))
    with pytest.raises(UserError, match=f"{base} has no tokenizer that is read here; name one"):
        beginning_with(base)
    assert beginning_with(base, tokenizer="byte").model.settings.width == tiny.WIDTH


def test_a_base_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"config.train.initial: .*base is no run's directory"):
        beginning_with(tmp_path / "base")


def test_a_folder_of_transformers_is_to_be_converted_first(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["GPT2LMHeadModel"]}))
    with pytest.raises(
        UserError,
        match="has a model of transformers; make it a run's directory first: lm-lab convert",
    ):
        beginning_with(tmp_path)


def test_longer_text_than_the_bases_needs_positions_that_are_not_learned(tmp_path):
    base = base_in(tmp_path / "base", {})
    assert [beginning_with(base, length=length).model.settings.length for length in (8, 20)] == [
        16,
        20,
    ]
    learned = base_in(tmp_path / "learned", {"model.positions": "learned"})
    with pytest.raises(UserError, match=r"initial has learnt positions for 16 tokens, .* need 20"):
        beginning_with(learned, length=20)


def test_ids_that_the_base_has_no_embeddings_for_are_named(tmp_path):
    base = base_in(tmp_path / "base", {})
    with pytest.raises(UserError, match=r"embeddings of 257 ids, .* 'causal' needs \d+"):
        beginning_with(base, tokenizer="characters")


def test_the_directories_of_earlier_releases_go_on(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    assert tokenizers
    from tests import vocabularies

    vocabularies.byte_level(tmp_path, "<|endoftext|>")
    named = {
        "data.tokenizer": "hugging_face",
        "data.tokenizer.tokenizer_file": str(tmp_path / "tokenizer.json"),
    }
    _, resolved = tiny.resolve(named)
    old = (
        tmp_path / "old"
    )  # the file beside config.json, which names it by a path that leads nowhere
    old.mkdir()
    (tmp_path / "tokenizer.json").rename(old / "tokenizer.json")
    write_config(old, resolved)
    experiment, _ = configs.resolve(configs.ConfigDict(restore.read_run(old)), stored=True)
    assert experiment.data.tokenizer.settings.tokenizer_file == str(old / "tokenizer.json")


def test_another_file_than_the_runs_own_is_refused(tmp_path):
    pytest.importorskip("tokenizers")
    from tests import vocabularies

    for name, special in (("a", "<|endoftext|>"), ("b", "</s>")):
        (tmp_path / name).mkdir()
        vocabularies.byte_level(tmp_path / name, special)
    experiments = []
    for name in ("a", "b"):
        named = {
            "data.tokenizer": "hugging_face",
            "data.tokenizer.tokenizer_file": str(tmp_path / name / "tokenizer.json"),
        }
        experiments.append(tiny.resolve(named)[0])
    (tmp_path / "run").mkdir()
    carried.keep(tmp_path / "run", experiments[0], Text(experiments[0].data))
    carried.check(tmp_path / "run", experiments[0])
    with pytest.raises(
        UserError, match=r"b/tokenizer.json is not the tokenizer that the run began with"
    ):
        carried.check(tmp_path / "run", experiments[1])
