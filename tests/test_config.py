import dataclasses
import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from lm_lab import config as configs
from lm_lab.data.sources import synthetic
from lm_lab.plain import plain
from lm_lab.train.program import assemble
from lm_lab.train.sections import SECTIONS
from lm_lab.train.task import bind
from lm_lab.types import UserError
from tests import tiny


def config_of(path, request):
    """The config of a file; skips where a tokenizer is to be learnt from data beside the project
    that is not there, or from text that nobody may hand on.
    """
    config = configs.load(str(path))
    if path.stem == "penn_treebank" and not Path(config.data.source.path).exists():
        pytest.skip("the Penn Treebank is not here")
    if config.data.get("tokenizer", "byte") != "byte" and "published" in path.read_text():
        request.getfixturevalue("shared_data")
    return config


CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_the_project_opens_with_its_facts_resolves_and_assembles(path, request):
    experiment, values = configs.resolve(config_of(path, request))
    assert assemble(bind(experiment, values)).steps > 0
    assert json.loads(json.dumps(values)) == values
    opening = path.read_text().split('"""')[1]
    assert all(fact in opening for fact in ("Command:", "Cost:"))
    assert "Result:" in opening or "Published:" in opening
    assert f"--config=configs/{path.name}" in opening


@pytest.mark.parametrize("path", [None, *CONFIGS], ids=lambda path: path.stem if path else "tiny")
def test_a_resolved_config_is_complete_and_resolves_to_itself(path, request):
    experiment, values = configs.resolve(config_of(path, request) if path else tiny.config())
    stored = json.loads(json.dumps(values))  # as config.json and sweep.json keep it
    again, values_again = configs.resolve(configs.override(ConfigDict(), stored))
    assert again == experiment
    assert values_again == values
    assert set(values) == {"seed", *SECTIONS}
    assert {field.name for field in dataclasses.fields(experiment.model.settings)} | {
        "family"
    } == set(values["model"])
    task = bind(experiment, values)
    objective, vocabulary = task.objective_kind, task.vocabulary
    added = objective.special_ids(experiment.objective.settings, experiment.data.length, vocabulary)
    assert task.experiment.model.settings.vocab == vocabulary.size + added
    assert task.values["model"] == plain(task.experiment.model.settings) | {
        "family": experiment.model.name
    }
    assert bind(task.experiment, task.values).values == task.values
    if objective.model_length(experiment.objective.settings, 5, 7) == 5:
        assert values["model"].get("length", values["data"]["length"]) == values["data"]["length"]


def test_a_stored_config_may_hold_what_nobody_reads():
    """Earlier releases took any value there."""
    stored = {"family": "state_space", "heads": 2, "window": 7, "width": 16, "depth": 1}
    config = tiny.config({"model": stored})
    experiment, _ = configs.resolve(config, stored=True)
    assert experiment.model.settings.window == 7
    with pytest.raises(
        UserError, match=r"config\.model\.window is read with attention_every alone"
    ):
        configs.resolve(config)


def test_a_complete_config_is_read_again_as_it_is():
    values = configs.resolve(tiny.config())[1]
    assert values["model"]["length"] == tiny.LENGTH  # of rotary positions, which do not read it
    assert configs.resolve(configs.wrap(values))[1] == values


def test_defaults_stand_with_their_consumers():
    config = tiny.config()
    del config["seed"]
    experiment, values = configs.resolve(config)
    assert experiment.seed == values["seed"] == 0
    assert experiment.mesh.devices == 1
    assert values["precision"]["compute"] == values["precision"]["parameters"] == "float32"


MISTAKES = [
    ({"modle.depth": 3}, "config.modle does not exist; did you mean 'model'?"),
    ({"model.dept": 3}, "config.model.dept does not exist; did you mean 'depth'?"),
    ({"objective.nam": 3}, "config.objective.nam does not exist; did you mean 'name'?"),
    ({"data.lenght": 3}, "config.data.lenght does not exist; did you mean 'length'?"),
    (
        {"data.source.symbol": 3},
        "config.data.source.symbol does not exist; did you mean 'symbols'?",
    ),
    ({"data.symbols": 3}, "config.data.symbols is called config.data.source.symbols; rename it"),
    (
        {"optimizer.schedule": "wsd"},
        "config.optimizer.schedule is called config.schedule.name; rename it",
    ),
    (
        {"schedule.decay_fraction": 0.3},
        "config.schedule.decay_fraction is read with wsd, not with cosine; leave it out",
    ),
    (
        {"data.source.suffix": ".txt"},
        "config.data.source.suffix is read with text, not with synthetic; leave it out",
    ),
    (
        {"data.tokenizer": "words", "data.tokenizer.pieces": 4},
        "config.data.tokenizer.pieces is read with ",
    ),
    (
        {"model.cell": "gru"},
        "config.model.cell is read with rnn, not with decoder; leave it out",
    ),
    ({"data.source": 3}, "config.data.source must be a section with fields, not 3"),
    ({"data.tokenizer.name": 3}, "config.data.tokenizer.name must name one of: byte, "),
    ({"optimizer": "lyon"}, "config.optimizer: no optimizers named 'lyon'; did you mean 'lion'?"),
    (
        {"optimizer.peak_rat": 1.0},
        "config.optimizer.peak_rat does not exist; did you mean 'peak_rate'?",
    ),
    (
        {"train.save_every_steps": 3},
        "config.train.save_every_steps does not exist; did you mean 'checkpoint_every_steps'?",
    ),
    ({"train.lr": 3}, "config.train.lr does not exist; did you mean 'config.optimizer.peak_rate'?"),
    (
        {"model.rope_theta": 3},
        "config.model.rope_theta does not exist; did you mean 'positions.base'?",
    ),
    ({"train.step": 3}, "config.train.step does not exist; did you mean 'steps'?"),
    ({"mesh.tensors": 2}, "config.mesh.tensors does not exist; did you mean 'tensor'?"),
    (
        {"precision.comput": "float32"},
        "config.precision.comput does not exist; did you mean 'compute'?",
    ),
    (
        {"model.width.x": 3},
        "config.model.width.x does not exist; config.model.width has no fields",
    ),
    ({"seed.x": 3}, "config.seed.x does not exist; config.seed has no fields"),
    ({"model": 4}, "config.model must be a section with fields, not 4"),
    ({"seed": -1}, "config.seed must be at least 0, not -1"),
    ({"seed": 2**32}, "config.seed must be at most 4294967295, not 4294967296"),
    ({"seed": "x"}, "config.seed must be a whole number, not 'x'"),
    (
        {"model.family": "decodr"},
        "config.model.family: no models named 'decodr'; did you mean 'decoder'?",
    ),
    ({"model.family": 3}, "config.model.family must name one of: "),
    ({"model.width": 0}, "config.model.width must be at least 1, not 0"),
    ({"model.width": 17}, "config.model: width 17 is not divisible by heads 2; choose a multiple"),
    (
        {"model.vocab": 256},
        "config.model.vocab 256 is below the data's 257; raise it or leave it out",
    ),
    (
        {"model.length": 15, "model.positions": "learned"},
        "config.model.length 15 is below the data's 16; raise it or leave it out",
    ),
    (
        {"model.length": 17},
        "config.model.length is read with learned positions alone; leave it out",
    ),
    (
        {"model.bias": "feed_forward", "model.feed_forward": "experts"},
        "config.model.bias is read with products other than those of experts alone; leave it out",
    ),
    (
        {"model": {"family": "state_space", "heads": 2}},
        "config.model.heads is read with attention_every or block rg_lru alone; leave it out",
    ),
    (
        {"model": {"family": "state_space", "positions": "alibi"}},
        "config.model.positions is read with attention_every alone; leave it out",
    ),
    (
        {"model": {"family": "state_space", "positions": {"base": 9.0}}},
        "config.model.positions is read with attention_every alone; leave it out",
    ),
    (
        {"objective": {"name": "continuation", "as_context": True}},
        "config.objective.as_context True is not for this config.model, which reads no context",
    ),
    ({"model.dropout": 1.0}, "config.model.dropout must be at most 0.99, not 1.0"),
    ({"model.norm": None}, "config.model.norm must be one of rms, layer, not None"),
    ({"data.length": "long"}, "config.data.length must be a whole number, not 'long'"),
    ({"data.source": "nowhere"}, "config.data.source: no data.sources named 'nowhere'"),
    ({"data.source.name": "no"}, "config.data.source.name: no data.sources named 'no'"),
    ({"data.source.order": 10}, "config.data.source.order must be at most 8, not 10"),
    ({"optimizer.peak_rate": float("nan")}, "config.optimizer.peak_rate must be finite, not nan"),
    ({"optimizer.peak_rate": "fast"}, "config.optimizer.peak_rate must be a number, not 'fast'"),
    ({"optimizer.beta2": 1.0}, "config.optimizer.beta2 must be at most 0.9999999, not 1.0"),
    (
        {"schedule": "cosin"},
        "config.schedule: no schedules named 'cosin'; did you mean 'cosine'?",
    ),
    ({"train.steps": -5}, "config.train.steps must be at least 1, not -5"),
    (
        {"train.tokens": 100},
        "config.train: give one of steps, tokens, budget_flops, not steps and tokens",
    ),
    ({"train.steps": None}, "config.train: give one of steps, tokens, budget_flops, not none"),
    ({"train.microbatches": 3}, "config.train: batch_size 8 is not divisible by microbatches 3"),
    (
        {"data.pack": True},
        "config.data.pack is for texts with labels, for preferences, and for pairs whose source is "
        "a model's context; leave it out",
    ),
    ({"mesh.data": 0}, "config.mesh.data must be at least 1, not 0"),
    (
        {"precision.compute": "float16"},
        "config.precision.compute must be one of float32, bfloat16, not 'float16'",
    ),
]


@pytest.mark.parametrize(
    "changes, message", MISTAKES, ids=lambda value: "-".join(value) if type(value) is dict else ""
)
def test_every_mistake_is_one_line_that_names_the_key(changes, message):
    with pytest.raises(UserError) as caught:
        tiny.resolve(changes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_overriding_leaves_the_config_as_it_was():
    config = tiny.config()
    changed = configs.override(config, {"model.depth": 7, "seed": 3})
    assert (config.model.depth, config.seed) == (tiny.DEPTH, 0)
    assert (changed.model.depth, changed.seed) == (7, 3)


def test_a_name_or_a_mapping_replaces_a_choice_and_a_longer_key_changes_it():
    def source(*changes):
        config = tiny.config()
        for change in changes:
            config = configs.override(config, change)
        return configs.resolve(config)[1]["data"]["source"]

    default = {"name": "synthetic", **plain(synthetic.Config())}
    assert source({"data.source": "synthetic"}) == default
    assert source({"data.source": {"name": "synthetic", "order": 1}}) == default | {"order": 1}
    assert source({"data.source": "synthetic", "data.source.order": 1}) == default | {"order": 1}
    assert source({"data.source": "synthetic"}, {"data.source.order": 1}) == default | {"order": 1}
    assert source({"data.source.order": 1})["symbols"] == 4  # as the config says


def test_the_run_to_start_from_is_the_same_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tiny.resolve({"train.initial": "runs/a"})[1]["train"]["initial"] == str(
        tmp_path / "runs/a"
    )


def test_load_passes_the_text_after_a_colon(tmp_path):
    file = tmp_path / "named.py"
    file.write_text(
        "from ml_collections import ConfigDict\ndef get_config(text='none'):\n    return "
        "ConfigDict({'t': text})\n"
    )
    assert configs.load(str(file)).t == "none"
    assert configs.load(f"{file}:wide").t == "wide"


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "no Python file .*named.py'; did you mean '.*names.py'"),
        ("def get_config(:", "fails: SyntaxError"),
        ("import nowhere", "fails: ModuleNotFoundError: No module named 'nowhere'"),
        ("x = 1", "has no get_config"),
        (
            "def get_config():\n    return {}",
            r"get_config\(\) of .* returns a dict, not a ConfigDict",
        ),
        ("def get_config():\n    return 1 / 0", "fails: ZeroDivisionError: division by zero"),
    ],
)
def test_a_config_file_that_fails_is_one_line(tmp_path, text, message):
    (tmp_path / "names.py").touch()
    if text is not None:
        (tmp_path / "named.py").write_text(text)
    with pytest.raises(UserError, match=f"config: .*{message}"):
        configs.load(str(tmp_path / "named.py"))
