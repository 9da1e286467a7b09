"""MarianMT (1804.00344), as transformers stores it: 1706.03762's transformer, with BART's names of
tensors.
"""

from typing import Any

from lm_lab.interop import bart
from lm_lab.interop.bart import COPIES
from lm_lab.interop.fields import PLAIN_ACTIVATIONS, demand, expect
from lm_lab.interop.mapping import Rule

ARCHITECTURES = ("MarianMTModel",)
IGNORED = (*COPIES, "model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")

ACTIVATIONS = {**PLAIN_ACTIVATIONS, "swish": "silu", "silu": "silu"}
FIXED = {**bart.COMMON, "positions.name": "sinusoidal", "embedding_norm": False}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """The fields of our encoder-decoder. Raises UserError naming a field that is missing or not
    supported.
    """
    fields = bart.sizes(foreign, ACTIVATIONS)
    expect(
        foreign, {"share_encoder_decoder_embeddings": True, "decoder_vocab_size": fields["vocab"]}
    )
    return {**FIXED, **fields}


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that MarianMT does not have."""
    demand(config, "MarianMT", FIXED)
    foreign = bart.written(config, "MarianMT", ACTIVATIONS)
    marian_fields = {"share_encoder_decoder_embeddings": True, "decoder_vocab_size": config.vocab}
    return {"architectures": [ARCHITECTURES[0]], "model_type": "marian", **foreign, **marian_fields}


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors; positions are computed, not stored."""
    return bart.body(config)


MAPPING = bart.MAPPING._replace(
    architectures=ARCHITECTURES,
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    bare=("MarianModel",),
    ignored=IGNORED,
)
