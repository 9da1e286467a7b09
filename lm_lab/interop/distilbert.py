"""DistilBERT with its masked-token head (1910.01108): BERT's shape without kinds of segments."""

from typing import Any

from lm_lab.interop.decoders import demand_full_width, read_sizes, write_sizes
from lm_lab.interop.fields import PLAIN_ACTIVATIONS, choose, demand_all, spell, take, take_dropout
from lm_lab.interop.mapping import ModelMapping, Rule, linear, norm, own_head, same

ARCHITECTURES = ("DistilBertForMaskedLM",)
IGNORED = (
    "distilbert.embeddings.position_ids",
    "vocab_projector.weight",
)  # a buffer, and what is tied

FIXED = {
    "kinds": 0,
    "norm": "layer",
    "norm_bias": True,
    "norm_epsilon": 1e-12,
    "norm_position": "post",
    "embedding_norm": True,
    "positions.name": "learned",
    "bias": True,
}
SIZES = {
    "width": "dim",
    "depth": "n_layers",
    "heads": "n_heads",
    "feed_forward_dim": "hidden_dim",
    "vocab": "vocab_size",
    "length": "max_position_embeddings",
}
PRODUCTS = {
    "attention/query": "attention.q_lin",
    "attention/key": "attention.k_lin",
    "attention/value": "attention.v_lin",
    "attention/out": "attention.out_lin",
    "feed_forward/up": "ffn.lin1",
    "feed_forward/down": "ffn.lin2",
}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our encoder's settings. Raises UserError naming a field that is missing or unsupported."""
    return {
        **FIXED,
        **read_sizes(foreign, SIZES),
        "activation": choose(foreign, "activation", PLAIN_ACTIVATIONS, "gelu"),
        "tied": take(foreign, "tie_word_embeddings", bool, True),
        "dropout": take_dropout(foreign, ("dropout",)),
    }


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that DistilBERT does not have."""
    demand_all(config, "DistilBERT", FIXED)
    demand_full_width(config, "DistilBERT")
    return {
        "architectures": [*ARCHITECTURES],
        "model_type": "distilbert",
        **write_sizes(config, SIZES),
        "hidden_dim": config.inner,
        "activation": spell(config, "activation", "DistilBERT", PLAIN_ACTIVATIONS),
        "tie_word_embeddings": config.tied,
        "dropout": config.dropout,
        "attention_dropout": 0.0,
        "pad_token_id": None,
    }


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    layers, layer = range(config.depth), "distilbert.transformer.layer.{layer}"
    tensor_rules = [
        same("embed/embedding", "distilbert.embeddings.word_embeddings.weight"),
        same("positions/embedding", "distilbert.embeddings.position_embeddings.weight"),
        *norm("embedding_norm", "distilbert.embeddings.LayerNorm"),
        *norm("layers/attention_norm", f"{layer}.sa_layer_norm", layers),
        *norm("layers/feed_forward_norm", f"{layer}.output_layer_norm", layers),
        *linear("transform", "vocab_transform"),
        *norm("transform_norm", "vocab_layer_norm"),
        same("head/bias", "vocab_projector.bias"),
    ]
    for ours, theirs in PRODUCTS.items():
        tensor_rules += linear(f"layers/{ours}", f"{layer}.{theirs}", layers)
    return [*tensor_rules, *own_head(config, "vocab_projector.weight")]


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="encoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="distilbert.",
    ignored=IGNORED,
)
