"""mBART (2001.08210): BART with norms before the branches, and one more after each side."""

from typing import Any

from lm_lab.interop import bart
from lm_lab.interop.fields import PLAIN_ACTIVATIONS, demand
from lm_lab.interop.mapping import Rule, norm

ARCHITECTURES = ("MBartForConditionalGeneration",)
FIXED = {**bart.FIXED, "norm_position": "pre"}
OLD = {
    "normalize_before": False,
    "add_final_layer_norm": False,
}  # config.json files state other values, which transformers ignores


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """The fields of our encoder-decoder. Raises UserError naming a field that is missing or not
    supported.
    """
    return {**FIXED, **bart.sizes(foreign | OLD, PLAIN_ACTIVATIONS)}


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that mBART does not have."""
    demand(config, "mBART", FIXED)
    named = {"architectures": [*ARCHITECTURES], "model_type": "mbart"}
    return named | bart.written(config, "mBART", PLAIN_ACTIVATIONS)


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    last = {"norm": "model.decoder.layer_norm", "encoder_norm": "model.encoder.layer_norm"}
    return [
        *bart.rules(config),
        *(rule for ours, theirs in last.items() for rule in norm(ours, theirs)),
    ]


MAPPING = bart.MAPPING._replace(
    architectures=ARCHITECTURES,
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    bare=("MBartModel",),
)
