"""lm-lab convert: there and back is the same model, and a mistake leaves nothing behind."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab import config as configs
from lm_lab.adapters import lora
from lm_lab.cli import convert
from lm_lab.cli.main import dispatch, main
from lm_lab.interop import folder, peft, tensors
from lm_lab.library.runs import open_run
from lm_lab.train import loop, restore
from lm_lab.train.compiled import compile_program
from lm_lab.train.run import Run
from lm_lab.types import Inputs, UserError
from tests import tiny
from tests.cli import cli_helpers

VOCAB = 300


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder of the user, with `foreign`, a tiny LLaMA of transformers with a tokenizer
    of 300 ids.
    """
    monkeypatch.chdir(tmp_path)
    model = tiny.model(activation="swiglu", vocab=VOCAB)
    folder.save(Path("foreign"), "decoder", model.cfg, tiny.params_of(model, Inputs(tiny.tokens())))
    Path("foreign/merges.txt").write_text("#version: 0.2\n")
    return tmp_path


def write_tokenizer(path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    special = ["<|end_of_text|>"]
    trainer = tokenizers.trainers.BpeTrainer(
        special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["the cat"], trainer)
    made.save(str(path))


def test_there_and_back_is_the_same_model(place, capsys):
    assert convert.run(["--from=foreign", "--to=runs/a"]) == 0
    family, config, params = restore.load_params(Path("runs/a"))
    assert (family, config.vocab, config.activation) == ("decoder", VOCAB, "swiglu")
    assert tiny.same_bits(params, folder.load(Path("foreign"))[2])
    assert convert.run(["--from", "runs/a", "--to", "back", "--architecture=LlamaForCausalLM"]) == 0
    assert cli_helpers.stored(place / "back") == cli_helpers.stored(place / "foreign")
    assert capsys.readouterr().out.splitlines() == [
        "runs/a: decoder, from foreign; without a tokenizer: there is no file of one",
        "back: LlamaForCausalLM, from the decoder in runs/a",
    ]


def test_bfloat16_is_kept_or_asked_for(place):
    convert.run(["--from=foreign", "--to=half", "--dtype=bfloat16"])
    convert.run(["--from=half", "--to=back"])
    found = tensors.read(place / "back/model.safetensors")
    assert {str(tensor.dtype) for tensor in found.values()} == {"bfloat16"}
    assert json.loads(Path("back/config.json").read_text())["dtype"] == "bfloat16"
    assert tiny.distance(folder.load(Path("back"))[2], folder.load(Path("foreign"))[2]) <= 2**-8


def test_a_tokenizer_goes_along_and_text_can_be_generated(place, monkeypatch, capsys):
    write_tokenizer(place / "foreign/tokenizer.json")
    convert.run(["--from=foreign", "--to=runs/a"])
    tokenizer = restore.read_config(Path("runs/a"))["data"]["tokenizer"]
    assert tokenizer["tokenizer_file"] == "tokenizer/tokenizer.json"
    capsys.readouterr()
    words = ["generate", "--workdir=runs/a", "--prompt=the cat", "--new_tokens=3", "--seed=1"]
    assert dispatch(words) == 0
    assert capsys.readouterr().out.startswith("the cat")
    run = open_run("runs/a")
    with pytest.raises(UserError, match="was trained elsewhere, and holds out no text"):
        run.evaluate({}, whole=True)


def test_a_model_alone_and_one_of_transformers_read_no_text(place):
    convert.run(["--from=foreign", "--to=runs/a"])
    for command in ("generate", "evaluate"):
        with pytest.raises(
            UserError, match=r"^runs/a holds a model alone, .* --config.train.initial=runs/a$"
        ):
            dispatch([command, "--workdir=runs/a"])
        with pytest.raises(
            UserError,
            match=r"^foreign has a model of transformers; .* lm-lab convert --from=foreign",
        ):
            dispatch([command, "--workdir=foreign"])
    with pytest.raises(UserError, match=r"^foreign has a model of transformers"):
        restore.load_params(Path("foreign"))


@pytest.fixture
def adapter(place):
    """(settings, adapters) of the PEFT folder `adapter`, of `foreign`."""
    _, config, params = folder.load(Path("foreign"))
    settings = lora.Config(
        rank=2, targets=("attention",), ranks=("query/1=3", "out/0=0"), alphas=("value=5",)
    )
    adapters = lora.init(jax.random.key(0), settings, params)
    adapters = jax.tree.map(lambda x: jnp.where(x == 0, x, x + 1), adapters)
    peft.save(Path("adapter"), settings, adapters, "decoder", config)
    return peft.load(Path("adapter"), "decoder", config)


def test_an_adapter_of_peft_comes_with_its_base(place, adapter):
    with pytest.raises(
        UserError, match=r"adapter: its adapter_config.json names no base; give --base=FOLDER"
    ):
        convert.run(["--from=adapter", "--to=runs/a"])
    assert convert.run(["--from=adapter", "--base=foreign", "--to=runs/a"]) == 0
    base = folder.load(Path("foreign"))[2]
    assert tiny.same_bits(
        restore.load_params(Path("runs/a"))[2], jax.device_get(lora.merge(*adapter, base)[0])
    )
    assert convert.run(["--from=foreign", "--to=runs/base"]) == 0
    written = json.loads(Path("adapter/adapter_config.json").read_text())
    Path("adapter/adapter_config.json").write_text(
        json.dumps(written | {"base_model_name_or_path": "runs/base"})
    )
    assert convert.run(["--from=adapter", "--to=runs/b"]) == 0
    assert tiny.same_bits(*(restore.load_params(Path(name))[2] for name in ("runs/a", "runs/b")))
    assert restore.read_config(Path("runs/b"))["train"]["initial"] == str(place / "runs/base")


def test_training_goes_on_with_an_adapter_where_it_is_asked_for(place, adapter):
    convert.run(["--from=adapter", "--base=foreign", "--to=runs/a"])
    given = {name: section for name, section in tiny.RUN.items() if name != "model"}
    given |= {
        "data": given["data"] | {"tokenizer": "byte"},
        "train": given["train"] | {"initial": "runs/a"},
    }
    asked = given | {"adapter": {"name": "lora", "continues": True}}
    experiment, resolved = configs.resolve(configs.ConfigDict(asked))
    state = compile_program([tiny.bound(experiment)]).start()
    assert tiny.same_bits(tiny.member(state.params["lora"], 0), adapter[1])
    assert tiny.same_bits(state.slots["frozen"], folder.load(Path("foreign"))[2])
    assert configs.resolve(configs.ConfigDict(resolved), stored=True)[1] == resolved
    loop.train([Run(experiment, resolved, Path("run"))])
    own = restore.load_adapter(Path("run"))[2].trained["lora"]["layers"]["attention"]
    assert tiny.distance(own, adapter[1]["layers"]["attention"]) > 1e-4
    assert not np.asarray(own["query"]["up_kernel"])[0, 2:].any()  # beyond the layer's own rank
    wrong = Run(
        *configs.resolve(configs.override(configs.ConfigDict(asked), {"adapter.rank": 4})),
        Path("wrong"),
    )
    with pytest.raises(
        UserError, match=r"has an adapter with rank 2, and config.adapter.rank is 4; leave it out"
    ):
        compile_program([tiny.bound(wrong.experiment)])
    with pytest.raises(UserError, match=r"config.adapter.continues needs config.train.initial"):
        configs.resolve(configs.override(configs.ConfigDict(asked), {"train.initial": None}))


MISTAKES = [
    (
        ["--from=foreign", "--to=new", "--base=foreign"],
        "--base is for the folder of an adapter, and foreign is none",
    ),
    ([], "--from=FOLDER and --to=FOLDER are needed"),
    (["--from=foreign"], "--from=FOLDER and --to=FOLDER are needed"),
    (["--from=foreign", "--to=new", "more"], "unexpected argument 'more'"),
    (["--from=foreign", "--to=new", "--dtype=int8"], "--dtype"),
    (["--from=foreign", "--to=foreign"], "foreign is taken; choose another folder"),
    (
        ["--from=foreign", "--to=new", "--architecture=LlamaForCausalLM"],
        "is for what is written for transformers",
    ),
    (["--from=./nowhere", "--to=new"], "nowhere/config.json: cannot read: No such file"),
    (["--from=broken", "--to=new"], "broken/model.safetensors: tensor model.norm.weight"),
    (["--from=run", "--to=new"], "run/checkpoints: no checkpoint there"),
    (["--from=foreign", "--to=foreign/config.json/new"], "cannot write"),
]


@pytest.mark.parametrize("words, message", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(place, monkeypatch, capsys, words, message):
    Path("broken").mkdir()
    Path("broken/config.json").write_text(Path("foreign/config.json").read_text())
    Path("broken/model.safetensors").write_bytes(
        Path("foreign/model.safetensors").read_bytes()[:-4]
    )
    Path("run").mkdir()
    Path("run/config.json").write_text(json.dumps({"model": {"family": "decoder", "vocab": VOCAB}}))
    before = cli_helpers.stored(place)
    monkeypatch.setattr("sys.argv", ["lm-lab", "convert", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, error = capsys.readouterr()
    assert (ended.value.code, out, len(error.splitlines())) == (2, "", 1), error
    assert message in error
    assert cli_helpers.stored(place) == before


def test_a_setting_that_the_architecture_has_not_is_named(place):
    convert.run(["--from=foreign", "--to=runs/a"])
    with pytest.raises(
        UserError, match=r"model.bias 'none' cannot be written as Qwen2, which has 'qkv'"
    ):
        convert.run(["--from=runs/a", "--to=new", "--architecture=Qwen2ForCausalLM"])
    with pytest.raises(UserError, match="a model of family decoder is no BertForMaskedLM"):
        convert.run(["--from=runs/a", "--to=new", "--architecture=BertForMaskedLM"])
    assert not Path("new").exists()
