"""mT5 (2010.11934): T5 v1.1's shape and names of tensors. Its head is never the embedding, whatever its config says."""

from typing import Any

from lm_lab.interop import t5
from lm_lab.interop.fields import demand
from lm_lab.interop.t5 import FAMILY, IGNORED, rules

ARCHITECTURES = ("MT5ForConditionalGeneration",)

__all__ = ["ARCHITECTURES", "FAMILY", "IGNORED", "read_config", "rules", "write_config"]


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """The fields of our encoder-decoder. Raises UserError naming a field that is missing or not supported."""
    return t5.read_config({"feed_forward_proj": "gated-gelu"} | foreign | {"tie_word_embeddings": False})


def write_config(config: Any) -> dict[str, Any]:
    """A whole config.json. Raises UserError naming a setting that mT5 has not."""
    demand(config, "mT5", {"tied": False})
    return t5.write_config(config) | {"architectures": [*ARCHITECTURES], "model_type": "mt5"}
