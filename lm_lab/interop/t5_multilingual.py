"""mT5 (2010.11934): T5 v1.1's shape and names; features are never scaled before the head."""

from typing import Any

from lm_lab.interop import t5
from lm_lab.interop.fields import demand
from lm_lab.interop.mapping import ModelMapping
from lm_lab.interop.t5 import COPIES, IGNORED, rules

ARCHITECTURES = ("MT5ForConditionalGeneration",)


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """The fields of our encoder-decoder. Raises UserError naming a field that is missing or not
    supported.
    """
    return t5.read_config({"feed_forward_proj": "gated-gelu"} | foreign) | {"head_scaling": False}


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that mT5 does not have."""
    demand(config, "mT5", {"head_scaling": False})
    foreign = t5.write_config(config)
    del foreign["scale_decoder_outputs"]
    return foreign | {"architectures": [*ARCHITECTURES], "model_type": "mt5"}


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="encoder_decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    bare=("MT5Model",),
    ignored=IGNORED,
    copies=COPIES,
)
