"""Adapters of PEFT on a GPT-2 and on a LLaMA: the same logits here, and ours there."""

import json
import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lm_lab import registry
from lm_lab.adapters import lora
from lm_lab.interop import peft as ours
from lm_lab.interop import tensors
from lm_lab.types import Inputs, UserError
from tests.interop import parity
from tests.tiny import distance, normal

pytestmark = pytest.mark.torch
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
torch = pytest.importorskip("torch")

LOGITS = 1e-4  # absolute, as the issue asks; logits are of order 1
LOSSES = 1e-6  # of six steps; a float32 near 3 has steps of 2e-7
RATE, STEPS = 0.01, 6


def gpt2():
    config = transformers.GPT2Config(
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=16,
        vocab_size=23,
        bos_token_id=None,
        eos_token_id=None,
    )
    return parity.randomised(lambda: transformers.GPT2LMHeadModel(config))


def llama():
    config = transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16,
        vocab_size=23,
        bos_token_id=None,
        eos_token_id=None,
    )
    return parity.randomised(lambda: transformers.LlamaForCausalLM(config))


def pythia():
    config = transformers.GPTNeoXConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        vocab_size=23,
        bos_token_id=None,
        eos_token_id=None,
    )
    return parity.randomised(lambda: transformers.GPTNeoXForCausalLM(config))


MODELS = {"gpt2": gpt2, "llama": llama}
CASES = {
    "gpt2": {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True},
    "gpt2 dora": {
        "target_modules": ["c_attn", "attn.c_proj"],
        "fan_in_fan_out": True,
        "use_dora": True,
    },
    "llama patterns": {
        "target_modules": ["q_proj", "v_proj", "down_proj", "lm_head"],
        "use_rslora": True,
        "rank_pattern": {"layers.1.self_attn.q_proj": 5, "down_proj": 2},
        "alpha_pattern": {"v_proj": 3, "layers.0.mlp.down_proj": 8.5},
    },
    "llama one layer": {"target_modules": ["o_proj"], "layers_to_transform": [1]},
    "pythia dora": {"target_modules": ["query_key_value", "dense"], "use_dora": True},
    "llama dora": {"target_modules": "all-linear", "use_dora": True},
}


REFERENCES = MODELS | {"pythia": pythia}  # of the cases


def adapted(case):
    """(twin, the reference with a random adapter)."""
    model = REFERENCES[case.split()[0]]()
    torch.manual_seed(1)
    with warnings.catch_warnings(), parity.quiet():
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(
            model, peft.LoraConfig(r=3, lora_alpha=7, task_type="CAUSAL_LM", **CASES[case])
        )
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return wrapped.eval()


def read(case, place):
    """(wrapped reference, our family, config, parameters, settings, adapters)."""
    twin = parity.read(REFERENCES[case.split()[0]](), place)
    wrapped = adapted(case)
    with parity.quiet():
        wrapped.save_pretrained(place / "adapter", save_embedding_layers=False)
    settings, adapters = ours.load(place / "adapter", twin.family, twin.config)
    return wrapped, twin, settings, adapters


def logits_of(twin, settings, adapters, tokens):
    model = registry.load("models", twin.family, "").Model(twin.config)
    variables = {"params": twin.params, "lora": lora.collection({"it": settings}, {"it": adapters})}
    return np.asarray(jax.jit(lambda v, t: model.apply(v, Inputs(t)))(variables, tokens))


def theirs(model, tokens):
    with torch.no_grad():
        return model(input_ids=torch.as_tensor(tokens)).logits.numpy()


ADAMW = {"eps": 1e-8, "weight_decay": 0.01}


def their_losses(model, tokens):
    """The losses before each of six steps of AdamW."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer, losses = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.99), **ADAMW), []
    text = torch.as_tensor(tokens)
    for _ in range(STEPS):
        logits = model(input_ids=text).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), text[:, 1:].reshape(-1)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def our_losses(twin, settings, adapters, tokens):
    """Our losses of the same steps, by the functions that runs use."""
    model, adapter = twin.model(dropout=0.0), lora.make(settings)
    optimizer = optax.adamw(RATE, b1=0.9, b2=0.99, **ADAMW)

    def loss(trained):
        logits = model.apply(adapter.variables(trained, twin.params, "float32"), Inputs(tokens))
        shares = jax.nn.log_softmax(logits[:, :-1])
        return -jnp.take_along_axis(shares, tokens[:, 1:, None], -1).mean()

    @jax.jit
    def step(carry, _):
        trained, state = carry
        value, gradient = jax.value_and_grad(loss)(trained)
        updates, state = optimizer.update(gradient, state, trained)
        return (optax.apply_updates(trained, updates), state), value

    tokens, trained = jnp.asarray(tokens), jax.tree.map(jnp.asarray, {"lora": adapters})
    return np.asarray(jax.lax.scan(step, (trained, optimizer.init(trained)), None, length=STEPS)[1])


def loaded(place, base):
    """Our folder, loaded by PEFT; asserts that every tensor finds its place."""
    with warnings.catch_warnings(), parity.quiet():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, about PEFT itself
        model = peft.PeftModel.from_pretrained(base, place).eval()
    stored = tensors.read(place / "adapter_model.safetensors").keys()
    assert peft.get_peft_model_state_dict(model, save_embedding_layers=False).keys() == stored
    return model


@pytest.mark.parametrize("case", CASES)
def test_the_logits_are_those_of_peft_both_ways(case, tmp_path):
    wrapped, twin, settings, adapters = read(case, tmp_path)
    tokens = np.random.default_rng(0).integers(0, 23, (2, 9))
    wanted = theirs(wrapped, tokens)
    got = logits_of(twin, settings, adapters, tokens)
    assert np.abs(theirs(wrapped.unload(), tokens) - wanted).max() > 0.1
    assert np.abs(got - wanted).max() < LOGITS
    ours.save(tmp_path / "again", settings, adapters, twin.family, twin.config)
    model = loaded(tmp_path / "again", REFERENCES[case.split()[0]]())
    assert np.abs(theirs(model, tokens) - got).max() < LOGITS
    settings_again, again = ours.load(tmp_path / "again", twin.family, twin.config)
    assert settings_again == settings
    assert distance(again, adapters) < 1e-6
    wanted = their_losses(model, tokens)
    assert wanted[0] - wanted[-1] > 0.1, "training that learns nothing proves nothing"
    assert np.abs(our_losses(twin, settings, adapters, tokens) - wanted).max() < LOSSES


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_adapters_trained_here_have_the_same_logits_there(family, dora, tmp_path):
    twin = parity.read(MODELS[family](), tmp_path)
    settings = lora.Config(rank=2, alpha=4.0, scaling="root_rank", dora=dora)
    if family == "gpt2" and not dora:  # a part of c_attn alone
        settings = replace(settings, targets=("query", "value", "feed_forward"))
    adapters = lora.init(jax.random.key(0), settings, twin.params)
    adapters = jax.tree.map(lambda x: x + 0.2 * normal(*x.shape, seed=x.size), adapters)
    tokens = np.random.default_rng(0).integers(0, 23, (2, 9))
    ours.save(tmp_path / "adapter", settings, adapters, twin.family, twin.config)
    model = loaded(tmp_path / "adapter", MODELS[family]())
    assert (
        np.abs(theirs(model, tokens) - logits_of(twin, settings, adapters, tokens)).max() < LOGITS
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """(twin, folder) of a good adapter."""
    place = tmp_path_factory.mktemp("peft")
    _, twin, _, _ = read("llama patterns", place)
    return twin, place / "adapter"


A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
STRANGE = "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"
FIELDS = [
    (
        {"peft_type": "LOHA"},
        r"adapter_config.json: peft_type 'LOHA' is not supported; only 'LORA' is",
    ),
    ({"bias": "all"}, r"bias 'all' is not supported"),
    ({"modules_to_save": ["lm_head"]}, r"modules_to_save \['lm_head'\] is not supported"),
    (
        {"init_lora_weights": "pissa_niter_4"},
        r"init_lora_weights 'pissa_niter_4' changes the base too",
    ),
    ({"r": "many"}, r"r must be a whole number, not 'many'"),
    ({"alpha_pattern": {"(": 2}}, r"alpha_pattern has '\(', which is no pattern"),
    ({"use_dora": True}, r"adapter_model.safetensors: tensor .*lora_magnitude_vector is missing"),
]
TENSORS = [
    (lambda t: t.pop(A), r"tensor .*layers.0.self_attn.q_proj.lora_A.weight is missing"),
    (
        lambda t: t.update({A: t[A][:, :5]}),
        r"q_proj.lora_A.weight has shape \[3, 5\]; the model asks for \[3, 16\]",
    ),
    (
        lambda t: t.update({A: t[A][:2]}),
        r"q_proj.lora_B.weight has shape \[16, 3\], and A \[2, 16\]",
    ),
    (
        lambda t: t.update({A: t[A].astype(np.int32)}),
        r"q_proj.lora_A.weight is int32, not a floating-point",
    ),
    (
        lambda t: t.update({"lm_head.weight": t[A]}),
        r"tensor lm_head.weight is no part of the adapter",
    ),
    (
        lambda t: t.update(
            {STRANGE: t[A], STRANGE.replace("A.w", "B.w"): t[A.replace("A.w", "B.w")]}
        ),
        r"tensor .*layers.7.self_attn.q_proj.lora_A.weight is of a module that the model has not",
    ),
]


@pytest.mark.parametrize(
    "change, message", [*FIELDS, *TENSORS], ids=lambda x: x[:30] if isinstance(x, str) else ""
)
def test_a_bad_file_is_named(folder, tmp_path, change, message):
    twin, good = folder
    config = json.loads((good / "adapter_config.json").read_text())
    found = dict(tensors.read(good / "adapter_model.safetensors"))
    if callable(change):
        change(found)
    else:
        config |= change
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    tensors.write(tmp_path / "adapter_model.safetensors", found)
    with pytest.raises(UserError, match=message) as caught:
        ours.load(tmp_path, twin.family, twin.config)
    assert "\n" not in str(caught.value)


def test_a_part_of_a_module_with_a_magnitude_cannot_be_written(tmp_path):
    twin = parity.read(gpt2(), tmp_path)
    settings = lora.Config(rank=2, dora=True, targets=("query",))
    adapters = lora.init(jax.random.key(0), settings, twin.params)
    with pytest.raises(
        UserError, match=r"c_attn is .*query.*: adapt all of them with DoRA, or none"
    ):
        ours.save(tmp_path / "adapter", settings, adapters, twin.family, twin.config)
    assert not (tmp_path / "adapter").exists()
