"""BERT with its masked-token head (1810.04805), as transformers stores it."""

from typing import Any

from lm_lab.interop.decoders import demand_full_width
from lm_lab.interop.fields import (
    PLAIN_ACTIVATIONS,
    Refused,
    choose,
    demand_all,
    expect,
    spell,
    take,
    take_dropout,
)
from lm_lab.interop.mapping import ModelMapping, Rule, linear, norm, same, transposed

ARCHITECTURES = ("BertForMaskedLM",)
# buffers, tied copies, and a head that is left out: next-sentence prediction, with the pooler
# before it
IGNORED = (
    "bert.embeddings.position_ids",
    "cls.predictions.decoder.*",
    "cls.seq_relationship.*",
    "bert.pooler.*",
)
RENAMED = {
    "LayerNorm.gamma": "LayerNorm.weight",
    "LayerNorm.beta": "LayerNorm.bias",
}  # of Google's own checkpoints


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our encoder's settings. Raises UserError naming a field that is missing or unsupported."""
    expect(
        foreign,
        {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False},
    )
    return {
        "width": take(foreign, "hidden_size", int),
        "depth": take(foreign, "num_hidden_layers", int),
        "heads": take(foreign, "num_attention_heads", int),
        "feed_forward_dim": take(foreign, "intermediate_size", int),
        "vocab": take(foreign, "vocab_size", int),
        "length": take(foreign, "max_position_embeddings", int),
        "kinds": take(foreign, "type_vocab_size", int, 2, low=1),
        "norm": "layer",
        "norm_bias": True,
        "norm_epsilon": take(foreign, "layer_norm_eps", float, 1e-12),
        "norm_position": "post",
        "embedding_norm": True,
        "positions.name": "learned",
        "activation": choose(foreign, "hidden_act", PLAIN_ACTIVATIONS, "gelu"),
        "bias": True,
        "tied": take(foreign, "tie_word_embeddings", bool, True),
        "dropout": take_dropout(foreign, ("hidden_dropout_prob",)),
    }


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that BERT does not have."""
    return {"architectures": [ARCHITECTURES[0]], "model_type": "bert", **written(config, "BERT")}


def written(config: Any, name: str) -> dict[str, Any]:
    """The config.json fields that BERT and its successors share. Raises UserError."""
    required = {"norm": "layer", "norm_bias": True, "norm_position": "post", "embedding_norm": True}
    demand_all(
        config, name, required | {"positions.name": "learned", "bias": True}, written=("kinds",)
    )
    demand_full_width(config, name)
    if not config.kinds:
        raise Refused(
            f"model.kinds 0 cannot be written as {name}, which has at least 1", {"kinds": 2}
        )
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": config.inner,
        "vocab_size": config.vocab,
        "max_position_embeddings": config.length,
        "type_vocab_size": config.kinds,
        "layer_norm_eps": config.norm_epsilon,
        "hidden_act": spell(config, "activation", name, PLAIN_ACTIVATIONS),
        "tie_word_embeddings": config.tied,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": None,
    }


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    head = "cls.predictions"
    tensor_rules = [*body(config), *linear("transform", f"{head}.transform.dense")]
    tensor_rules += norm("transform_norm", f"{head}.transform.LayerNorm")
    if config.tied:
        return [*tensor_rules, same("head/bias", f"{head}.bias")]
    # A head that is not tied keeps the bias of a tied one, and does not use it.
    logits_bias = Rule(
        ("head/bias",),
        (f"{head}.decoder.bias", f"{head}.bias"),
        lambda used, _: (used,),
        lambda b: (b, b),
    )
    return [*tensor_rules, transposed("head/kernel", f"{head}.decoder.weight"), logits_bias]


def body(config: Any) -> list[Rule]:
    """The rules of the features' tensors, which all architectures based on BERT have."""
    layers, layer = tuple(range(config.depth)), "bert.encoder.layer.{layer}"
    tensor_rules = [
        same("embed/embedding", "bert.embeddings.word_embeddings.weight"),
        same("positions/embedding", "bert.embeddings.position_embeddings.weight"),
        same("kinds/embedding", "bert.embeddings.token_type_embeddings.weight"),
        *norm("embedding_norm", "bert.embeddings.LayerNorm"),
        *norm("layers/attention_norm", f"{layer}.attention.output.LayerNorm", layers),
        *norm("layers/feed_forward_norm", f"{layer}.output.LayerNorm", layers),
    ]
    for ours, theirs in {
        "attention/query": "attention.self.query",
        "attention/key": "attention.self.key",
        "attention/value": "attention.self.value",
        "attention/out": "attention.output.dense",
        "feed_forward/up": "intermediate.dense",
        "feed_forward/down": "output.dense",
    }.items():
        tensor_rules += linear(f"layers/{ours}", f"{layer}.{theirs}", layers)
    return tensor_rules


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="encoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="bert.",
    ignored=IGNORED,
    renamed=RENAMED,
)
