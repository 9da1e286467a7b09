"""Folders of transformers: whole files and shards, faulty files, and exports that are whole or
absent.
"""

import contextlib
import json
import os
import pickle
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lm_lab.interop import architectures, folder, origin, tensors, weights
from lm_lab.interop.fields import Fields
from lm_lab.types import Inputs, UserError
from tests import tiny

GPT2 = {
    "norm": "layer",
    "norm_bias": True,
    "positions": "learned",
    "bias": "all",
    "norm_epsilon": 1e-5,
}
UP = "transformer.h.1.mlp.c_fc.weight"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2, as lm_lab writes it; never changed."""
    model = tiny.model(**GPT2)
    place = tmp_path_factory.mktemp("folder") / "model"
    folder.save(place, "decoder", model.cfg, tiny.params_of(model, Inputs(tiny.tokens())))
    return place


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def rewrite(place: Path, changes: dict[str, np.ndarray | None]) -> None:
    found = {
        name: np.array(tensor) for name, tensor in tensors.read(place / "model.safetensors").items()
    } | changes
    kept = {name: tensor for name, tensor in found.items() if tensor is not None}
    tensors.write(place / "model.safetensors", kept)


def set_fields(place: Path, changes: dict) -> None:
    path = place / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def shard(place: Path) -> dict[str, str]:
    """Splits the one file in two; the weight_map."""
    found = {
        name: np.array(tensor) for name, tensor in tensors.read(place / "model.safetensors").items()
    }
    shards = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(found)}
    for file in set(shards.values()):
        tensors.write(
            place / file, {name: tensor for name, tensor in found.items() if shards[name] == file}
        )
    (place / "model.safetensors").unlink()
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    return shards


def test_shards_are_one_model(saved, model):
    shard(model)
    assert tiny.same_bits(folder.load(model)[2], folder.load(saved)[2])


def test_a_bare_model_leaves_the_prefix_out(saved, model):
    found = tensors.read(saved / "model.safetensors")
    bare = {name.removeprefix("transformer."): np.array(tensor) for name, tensor in found.items()}
    del bare["lm_head.weight"]
    set_fields(model, {"tie_word_embeddings": True})
    tensors.write(
        model / "model.safetensors", bare | {"h.0.attn.bias": np.ones((1, 1, 4, 4), np.uint8)}
    )
    whole = folder.load(saved)[2]
    assert tiny.same_bits(
        folder.load(model)[2], {name: whole[name] for name in whole if name != "head"}
    )


@pytest.mark.parametrize("dtype, bits", [("float16", 2**-11), ("float64", 0), ("bfloat16", 2**-8)])
def test_other_widths_are_read_as_float32(saved, model, dtype, bits):
    rewrite(
        model,
        {
            name: np.array(x).astype(dtype)
            for name, x in tensors.read(saved / "model.safetensors").items()
        },
    )
    whole, read = (folder.load(place)[2] for place in (saved, model))
    assert {leaf.dtype for leaf in tiny.jax.tree.leaves(read)} == {np.dtype(np.float32)}
    assert tiny.distance(read, whole) <= bits


@pytest.mark.torch
def test_a_pytorch_file_is_read_by_its_safe_loader(saved, model):
    torch = pytest.importorskip("torch")
    found = tensors.read(saved / "model.safetensors")
    torch.save(
        {name: torch.tensor(np.array(x)).bfloat16() for name, x in found.items()},
        model / "pytorch_model.bin",
    )
    (model / "model.safetensors").unlink()
    assert (
        tiny.distance(folder.load(model)[2], folder.load(saved)[2]) <= 2**-8
    )  # bfloat16's rounding


class Bomb:
    """A pickle that calls a function when it is loaded."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle ran code",))


@pytest.mark.torch
def test_no_pickle_runs(model):
    pytest.importorskip("torch")
    (model / "model.safetensors").unlink()
    for content in (pickle.dumps(Bomb()), b"garbage", b""):
        (model / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(UserError, match=r"pytorch_model.bin: no PyTorch file of weights alone"):
            folder.load(model)


def test_a_pytorch_file_needs_pytorch(model, monkeypatch):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pytorch_model.bin: reading a PyTorch file needs torch"):
        folder.load(model)


CONFIGS = [
    (
        {"architectures": ["GPT3LMHeadModel"]},
        "'GPT3LMHeadModel' is not supported; known: .*GPT2LMHeadModel",
    ),
    ({"architectures": []}, "architectures must be a list with one name"),
    ({"architectures": None}, "architectures must be a list with one name"),
    ({"n_embd": "16"}, "n_embd must be a whole number, not '16'"),
    ({"n_head": 3}, "GPT2LMHeadModel: width 16 is not divisible by heads 3"),
    ({"n_layer": 0}, "GPT2LMHeadModel.depth must be at least 1, not 0"),
    (
        {"activation_function": "silu"},
        "activation_function 'silu' is not supported; known: gelu_new",
    ),
    (
        {"scale_attn_by_inverse_layer_idx": True},
        "scale_attn_by_inverse_layer_idx True is not supported",
    ),
    ({"n_embd": 10**30}, "n_embd must be at most 2147483647"),
    (
        {"auto_map": {"AutoModel": "code.Model"}},
        "auto_map names code that comes with the model; none is run",
    ),
]


@pytest.mark.parametrize("changes, message", CONFIGS)
def test_a_config_that_is_not_supported_is_named(model, changes, message):
    set_fields(model, changes)
    with pytest.raises(UserError, match=f"config.json: .*{message}"):
        folder.load(model)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({UP: None}, f"tensor {UP} is missing"),
        ({"h.9.x": np.zeros(1)}, "tensor h.9.x has no place"),
        (
            {UP: np.zeros((64, 16))},
            rf"tensor {UP} has shape \[64, 16\]; the config asks for \[16, 64\]",
        ),
        ({UP: np.zeros((16, 64), np.int8)}, f"tensor {UP} is int8"),
    ],
)
def test_tensors_that_do_not_fit_are_named(model, changes, message):
    rewrite(model, changes)
    with pytest.raises(UserError, match=message):
        folder.load(model)


def test_mistakes_of_an_index_are_named(model):
    shards = shard(model)
    index = model / "model.safetensors.index.json"
    for changed, message in (
        (shards | {UP: "../x"}, "'../x' is no file beside it"),
        (shards | {UP: ""}, "'' is no file beside it"),
        (shards | {UP: ".."}, "'..' is no file beside it"),
        (shards | {UP: "/dev/zero"}, "'/dev/zero' is no file beside it"),
        (shards | {"x": shards[UP]}, f"tensor x is not in {shards[UP]}"),
        (shards | {UP: "model-2.safetensors"}, f"tensor {UP} is not where"),
        ({name: file for name, file in shards.items() if name != UP}, f"tensor {UP} is not where"),
        (None, "weight_map must say in which file"),
        ({UP: 3}, "weight_map must say in which file"),
    ):
        index.write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(UserError, match=message):
            folder.load(model)


@pytest.mark.parametrize(
    "changes", [{"n_layer": 16_000}, {"n_positions": 2**31 - 1}, {"n_embd": 2**20}]
)
def test_a_config_of_a_model_that_no_memory_holds_is_held_against_the_tensors(model, changes):
    set_fields(model, changes)
    with (
        limited_memory(2**30),
        pytest.raises(UserError, match=r"config.json (says|describes) .* fetch both again"),
    ):
        folder.load(model)


@contextlib.contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """The block may have so many bytes more than the process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_and_taken_where_it_is_asked_for(model, value):
    rewrite(model, {UP: np.full((16, 64), value, np.float32)})
    with pytest.raises(
        UserError, match=f"tensor {UP} has NaN or infinite numbers .* --allow_nonfinite"
    ):
        folder.load(model)
    _, _, params = folder.load(model, allow_nonfinite=True)
    assert not np.isfinite(params["layers"]["feed_forward"]["up"]["kernel"][1]).any()


def test_numbers_beyond_float32_are_not_finite(model):
    rewrite(model, {UP: np.full((16, 64), 1e300)})
    with pytest.raises(UserError, match=f"tensor {UP} has NaN or infinite numbers as float32"):
        folder.load(model)


@pytest.mark.torch
def test_a_pytorch_file_without_names_is_refused(model):
    torch = pytest.importorskip("torch")
    (model / "model.safetensors").unlink()
    torch.save({1: torch.ones(2)}, model / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model.bin: no tensors by name"):
        folder.load(model)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "model.safetensors.index.json"]
)
def test_what_is_no_file_is_not_waited_for(model, name):
    (model / ("model.safetensors" if "safetensors" in name else name)).unlink()
    os.mkfifo(model / name)
    with pytest.raises(UserError, match=f"{name} is no file"):
        folder.load(model)


def test_fields_that_are_not_understood_are_named_in_one_line(model, caplog):
    set_fields(model, {"rope_theta": 5e5, "use_cache": False, "attn_pdrop": 0.1, "embd_pdrop": 0.2})
    _, config, _ = folder.load(model)
    assert config.dropout == 0.0
    assert caplog.messages == [
        "model.dropout is resid_pdrop 0.0 for all that enters the stream; left out: embd_pdrop 0.2",
        f"{model}/config.json: left out, for they mean nothing here: attn_pdrop 0.1, rope_theta "
        "500000.0",
    ]


def test_dropout_is_carried_both_ways(model, tmp_path, caplog):
    set_fields(model, {"resid_pdrop": 0.1, "embd_pdrop": 0.1})
    family, config, params = folder.load(model)
    assert config.dropout == 0.1
    folder.save(tmp_path / "back", family, config, params)
    assert json.loads((tmp_path / "back/config.json").read_text())["resid_pdrop"] == 0.1
    assert not caplog.messages


DROPOUTS = {"attention_dropout", "attention_probs_dropout_prob", "attn_pdrop"}


@pytest.mark.torch
def test_every_field_of_a_fresh_config_is_understood():
    transformers = pytest.importorskip("transformers")
    for mapping in architectures.mappings().values():
        for name in mapping.architectures:
            foreign = Fields(getattr(transformers, name).config_class().to_dict())
            mapping.read_config(foreign)
            assert foreign.left().keys() <= DROPOUTS, name


def test_a_head_that_is_not_the_embedding_unties_the_model(model, caplog):
    set_fields(model, {"tie_word_embeddings": True})  # it has a head of its own
    _, config, params = folder.load(model)
    assert (config.tied, params["head"]["kernel"].shape) == (False, (16, 32))
    assert caplog.messages == [
        f"{model}: tensor lm_head.weight is not the embedding, so model.tied is False"
    ]
    embedding = np.array(tensors.read(model / "model.safetensors")["transformer.wte.weight"])
    rewrite(model, {"lm_head.weight": embedding})
    assert folder.load(model)[1].tied


def test_a_folder_without_a_model_is_refused(model):
    (model / "model.safetensors").unlink()
    with pytest.raises(
        UserError,
        match=r"no model.safetensors or pytorch_model.bin there; is this a model's folder",
    ):
        folder.load(model)
    for content in (b"{", b"[]", b"\xff"):
        (model / "config.json").write_bytes(content)
        with pytest.raises(UserError, match=r"config.json: .*fetch it again"):
            folder.load(model)
    with pytest.raises(UserError, match=r"x/config.json: cannot read: No such file"):
        folder.load(model / "x")


def write_halfway(place):
    with folder.drafted(place) as draft:
        (draft / "config.json").touch()
        raise OSError(28, "No space left on device")


def test_what_fails_leaves_nothing_behind(model, tmp_path):
    with pytest.raises(UserError, match="No space left"):
        write_halfway(tmp_path / "new")
    with pytest.raises(UserError, match="is taken; choose another folder"):
        folder.save(model, *folder.load(model))
    family, config, params = folder.load(model)
    with pytest.raises(UserError, match="learnt labels of texts, and its head has no form"):
        folder.save(tmp_path / "new", family, config, {"model": params, "head": {}})
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_name_that_no_hub_gives_is_one_line(monkeypatch):
    monkeypatch.setattr(origin.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"some/model: no such folder .* install huggingface_hub"):
        origin.load("some/model")


def test_no_architecture_has_two_mappings():
    names = [
        name for mapping in architectures.mappings().values() for name in mapping.architectures
    ]
    assert len(names) == len(set(names)) >= 4


def test_the_folder_where_one_stands_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with folder.drafted(Path()) as draft:
        (draft / "a").write_text("b")
    assert (tmp_path / "here" / "a").read_text() == "b"
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
