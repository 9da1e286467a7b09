"""A folder of transformers with its tokenizer becomes a run that reads text, and the same folder
again, of every architecture.
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_lab import config as configs
from lm_lab.cli import convert
from lm_lab.data import loader
from lm_lab.data.text import Text
from lm_lab.interop import architectures, folder, nearest, origin, tokenizers
from lm_lab.interop.fields import config_of
from lm_lab.registry import load
from lm_lab.schema import build
from lm_lab.train import carried, restore
from lm_lab.train.restore import abstract_params
from tests import tiny, vocabularies
from tests.cli import cli_helpers

pytest.importorskip("tokenizers")

VOCAB = 320
END = "<|endoftext|>"
# By mapping, the tokenizer that its models bring, and the name of its end; of others GPT-2's.
KINDS = {
    "bert": (vocabularies.word_piece, "[SEP]"),
    "distilbert": (vocabularies.word_piece, "[SEP]"),
    "t5": (vocabularies.t5, "</s>"),
    "t5_multilingual": (vocabularies.t5, "</s>"),
    "marian": (vocabularies.marian, "</s>"),
    "llama": (vocabularies.llama, "</s>"),
    "mistral": (vocabularies.llama, "</s>"),
    "mixtral": (vocabularies.llama, "</s>"),
    "recurrent_gemma": (vocabularies.llama, "</s>"),
    "bart": (
        lambda place: vocabularies.byte_level(place, *vocabularies.SPECIAL, framed=True),
        "</s>",
    ),
    "roberta": (
        lambda place: vocabularies.byte_level(place, *vocabularies.SPECIAL, framed=True),
        "</s>",
    ),
}
MAPPINGS = architectures.mappings()
SIZES = {"width": 16, "depth": 2, "heads": 2, "vocab": VOCAB, "length": 40}


def foreign(place: Path, name: str) -> Path:
    """A tiny model as transformers stores it, with its tokenizer, special ids and settings of
    generation.
    """
    mapping = MAPPINGS[name]
    family = load("models", mapping.family, "family")
    known = {
        setting: SIZES[setting]
        for setting in SIZES
        if setting in family.Config.__dataclass_fields__
    }
    way = nearest.changes(mapping, config_of(family.Config, known, "config.model"))
    assert way is not None
    config = config_of(family.Config, {**known, **way[1]}, "config.model")
    draw = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: draw.normal(0, 0.1, leaf.shape).astype(np.float32),
        abstract_params(mapping.family, config),
    )
    folder.save(place, mapping.family, config, params, mapping.architectures[0])
    make, _ = KINDS.get(name, (lambda place: vocabularies.byte_level(place, END), END))
    make(place)
    (place / "chat_template.jinja").write_text("{{ messages }}")
    said = json.loads((place / "config.json").read_text())
    ids = {
        "eos_token_id": 2,
        "pad_token_id": said.get("pad_token_id") or 0,
        "task_specific_params": {"x": 1},
    }
    if "decoder_start_token_id" in said:
        ids |= {"decoder_start_token_id": 3, "forced_bos_token_id": 4, "forced_eos_token_id": 2}
    if name == "bert":
        ids["eos_token_id"] = None
    (place / "config.json").write_text(json.dumps(said | ids, indent=2) + "\n")
    (place / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "num_beams": 3}))
    return place


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_folder_with_its_tokenizer_goes_there_and_back(name, tmp_path, capsys):
    place, run, back = foreign(tmp_path / "foreign", name), tmp_path / "run", tmp_path / "back"
    assert convert.run([f"--from={place}", f"--to={run}"]) == 0
    assert "without" not in capsys.readouterr().out
    experiment, _ = configs.resolve(configs.ConfigDict(restore.read_run(run)), stored=True)
    assert (
        experiment.model.settings.vocab == VOCAB
    )  # no id is added beside those that the model has
    tokenizer = Text(experiment.data).codec
    ids = tokenizer.encode("the cat sat")
    assert tokenizer.decode(ids) == "the cat sat"
    assert tokenizer.end_of_document not in ids
    assert str(tmp_path) not in (run / "config.json").read_text()  # all paths are the run's own
    if load("models", experiment.model.name, "family").needs_context:
        assert tiny.bound(experiment).vocabulary.start == 3
    assert (
        convert.run([f"--from={run}", f"--to={back}", f"--architecture={_architecture(place)}"])
        == 0
    )
    assert _contents(back) == _contents(place)


def _contents(place: Path) -> dict:
    """The contents of its files; config.json as parsed values, because its fields have no order."""
    files = cli_helpers.stored(place)
    return files | {"config.json": json.loads(files["config.json"])}


def _architecture(place: Path) -> str:
    return json.loads((place / "config.json").read_text())["architectures"][0]


def test_one_that_is_not_read_is_named_and_its_files_kept(tmp_path, capsys):
    place = foreign(tmp_path / "foreign", "gpt2")
    facts = json.loads((place / "tokenizer.json").read_text())
    facts["pre_tokenizer"]["add_prefix_space"] = True
    (place / "tokenizer.json").write_text(json.dumps(facts))
    convert.run([f"--from={place}", f"--to={tmp_path / 'run'}"])
    assert "without a tokenizer: config.data.tokenizer.tokenizer_file" in capsys.readouterr().out
    assert (tmp_path / "run/tokenizer/tokenizer.json").exists()
    convert.run([f"--from={tmp_path / 'run'}", f"--to={tmp_path / 'back'}"])
    assert _contents(tmp_path / "back") == _contents(place)


def test_a_tokenizer_with_more_ids_than_the_model_has_rows_is_named(tmp_path, capsys):
    place = foreign(tmp_path / "foreign", "gpt2")
    facts = json.loads((place / "tokenizer.json").read_text())
    more = facts["added_tokens"][0] | {"id": VOCAB, "content": "<more>"}
    (place / "tokenizer.json").write_text(
        json.dumps(facts | {"added_tokens": [*facts["added_tokens"], more]})
    )
    convert.run([f"--from={place}", f"--to={tmp_path / 'run'}"])
    assert (
        f"without a tokenizer: config.model.vocab {VOCAB} is below the data's {VOCAB + 1}"
        in capsys.readouterr().out
    )


def test_the_end_is_what_the_model_says(tmp_path):
    vocabularies.byte_level(tmp_path, END, "<|end|>")
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "llama", "eos_token_id": [1, 0]})
    )
    assert tokenizers.find(tmp_path)[0]["end_token"] == "<|end|>"
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
    assert tokenizers.find(tmp_path)[0]["end_token"] == END


def test_older_forms_are_read_as_tokenizer_json_is(tmp_path):
    vocabularies.word_piece(tmp_path)
    ids = [
        made.encode("The cat's hat!").tolist()
        for made in (_made(tmp_path), _made_without(tmp_path))
    ]
    assert ids[0] == ids[1]


def _made(place: Path):
    section, why = tokenizers.find(place)
    assert not why
    return Text(build(loader.Config, {"tokenizer": section}, "data")).codec


def _made_without(place: Path):
    (place / "tokenizer.json").unlink()
    return _made(place)


def test_what_is_fetched_has_all_that_is_kept():
    assert {*carried.NAMES, *carried.SETTINGS} <= {*origin.WANTED}
