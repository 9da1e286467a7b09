"""RoBERTa with its masked-token head (1907.11692): BERT's shape, with positions from the row after
padding's on.

XLM-RoBERTa (1911.02116) and CamemBERT (1911.03894) are the same model under other names, and are
not written as such.
"""

from typing import Any

from lm_lab.interop import bert
from lm_lab.interop.fields import demand, expect
from lm_lab.interop.mapping import ModelMapping, Rule, skip_rows

ARCHITECTURES = ("RobertaForMaskedLM", "XLMRobertaForMaskedLM", "CamembertForMaskedLM")
IGNORED = (
    "roberta.embeddings.position_ids",
    "roberta.pooler.*",
    "lm_head.decoder.*",
)  # buffers, and what is tied

UNUSED = 2  # rows of the position table up to that of the padding token, which is 1
NAMES = {
    "bert.": "roberta.",
    "cls.predictions.transform.dense": "lm_head.dense",
    "cls.predictions.transform.LayerNorm": "lm_head.layer_norm",
    "cls.predictions.": "lm_head.",
}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our encoder's settings. Raises UserError naming a field that is missing or unsupported."""
    expect(foreign, {"hidden_act": "gelu", "pad_token_id": UNUSED - 1})  # its head always has GELU
    settings = bert.read_config(foreign)
    return settings | {"length": settings["length"] - UNUSED}


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that RoBERTa does not have."""
    demand(config, "RoBERTa", {"activation": "gelu_exact"})
    named = {"architectures": [ARCHITECTURES[0]], "model_type": "roberta"}
    roberta_fields = {"max_position_embeddings": config.length + UNUSED, "pad_token_id": UNUSED - 1}
    return (
        named
        | bert.written(config, "RoBERTa")
        | roberta_fields
        | {"bos_token_id": None, "eos_token_id": None}
    )


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors: BERT's, under other names."""
    tensor_rules = [
        rule._replace(theirs=tuple(map(_renamed, rule.theirs))) for rule in bert.rules(config)
    ]
    table = ("positions/embedding", "roberta.embeddings.position_embeddings.weight")
    return [skip_rows(*table, UNUSED) if rule.ours == table[:1] else rule for rule in tensor_rules]


def _renamed(name: str) -> str:
    berts = next(prefix for prefix in NAMES if name.startswith(prefix))
    return NAMES[berts] + name.removeprefix(berts)


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="encoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="roberta.",
    ignored=IGNORED,
)
