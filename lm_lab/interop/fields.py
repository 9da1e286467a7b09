"""The fields of a foreign config.json, checked; a mistake names the field."""

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lm_lab.schema import check
from lm_lab.types import UserError

logger = logging.getLogger(__name__)

_NEEDED = object()
LARGEST = 2**31 - 1  # of a whole number: no tensor has a side as long

# Settings that every mapping writes, that mean nothing where what they belong to is not there, or
# that are of training.
WRITTEN = (
    "width",
    "depth",
    "heads",
    "kv_heads",
    "head_dim",
    "vocab",
    "length",
    "feed_forward",
    "activation",
    "tied",
)
WRITTEN += ("norm_epsilon", "rotary_base", "rotary_scaling", "rotary_factor", "rotary_length")
WRITTEN += (
    "rotary_low_factor",
    "rotary_high_factor",
    "experts",
    "experts_per_token",
    "capacity_factor",
)
WRITTEN += ("dropout", "scan", "balance_weight")

# Of layers that are not gated: the library's names, and ours.
PLAIN_ACTIVATIONS = {
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu": "gelu_exact",
    "relu": "relu",
}


# Fields that no mapping reads and that change nothing of what a model computes: what it is called,
# how a new one is drawn, what generation and other heads begin with, how transformers computes.
_NAMES = """
    _attn_implementation _attn_implementation_autoset _name_or_path architectures chunk_size_feed_forward
    classif_dropout classifier_dropout dense_act_fn dtype gradient_checkpointing id2label is_encoder_decoder
    is_gated_act label2id model_type n_ctx name_or_path output_attentions output_hidden_states output_router_logits
    output_past finetuning_task problem_type qa_dropout reorder_and_upcast_attn return_dict return_dict_in_generate
    seq_classif_dropout sinusoidal_pos_embds attention_softmax_in_fp32 cache_implementation classifier_pooling
    deterministic_flash_attn reference_compile repad_logits_with_grad scale_attention_softmax_in_fp32
    sparse_pred_ignore_index sparse_prediction tie_weights_ cls_token_id initializer_cutoff_factor
    router_aux_loss_coef static_position_embeddings summary_activation summary_first_dropout
    summary_proj_to_labels summary_type summary_use_proj task_specific_params tokenizer_class torch_dtype
    transformers_version use_associative_scan use_cache use_mambapy residual_in_fp32

    final_w_init_variance_scale init_std initializer_factor initializer_range rescale_prenorm_residual time_step_floor
    time_step_init_scheme time_step_max time_step_min time_step_scale w_init_variance_scale

    bad_words_ids begin_suppress_tokens bos_token_id decoder_start_token_id diversity_penalty do_sample early_stopping
    encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id
    length_penalty max_length min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences
    output_scores pad_token_id prefix remove_invalid_values repetition_penalty sep_token_id suppress_tokens temperature
    top_k top_p typical_p
"""
HARMLESS = frozenset(_NAMES.split())
# The same of these, as long as they say so.
HARMLESS_AS = {
    **dict.fromkeys(
        ("activation_dropout", "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop"), 0
    ),
    **dict.fromkeys(("decoder_layerdrop", "encoder_layerdrop", "layerdrop"), 0),
    **dict.fromkeys(
        ("add_cross_attention", "cross_attention_hidden_size", "is_decoder", "tie_encoder_decoder"),
        False,
    ),
    **dict.fromkeys(("use_bfloat16", "torchscript"), False),
    "pretraining_tp": 1,
    "pruned_heads": {},
}


class Fields(dict[str, Any]):
    """A foreign config that knows which of its fields were asked for."""

    def __init__(self, values: Mapping[str, Any], asked: set[str] | None = None) -> None:
        super().__init__(values)
        self.asked: set[str] = set() if asked is None else asked

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As a dict's."""
        self.asked.add(name)
        return super().get(name, default)

    def __or__(self, other: Any) -> "Fields":
        return Fields(dict.__or__(self, other), self.asked)

    def __ror__(self, other: Any) -> "Fields":
        return Fields(dict(other) | dict(self.items()), self.asked)

    def left(self) -> dict[str, Any]:
        """The fields that nobody asked for, less the harmless ones."""
        strange = {name: value for name, value in self.items() if name not in self.asked | HARMLESS}
        return {name: value for name, value in strange.items() if not _is_harmless(name, value)}


def _is_harmless(name: str, value: Any) -> bool:
    # None is how transformers says that there is no such thing.
    return name in HARMLESS_AS and (value is None or value == HARMLESS_AS[name])


def take(
    foreign: Mapping[str, Any],
    name: str,
    hint: Any,
    default: Any = _NEEDED,
    *,
    low: float | None = None,
) -> Any:
    """A field's value as the hinted type, not below `low`; the default where it is absent. Raises
    UserError.
    """
    if name not in foreign and default is not _NEEDED:
        return default
    if name not in foreign:
        raise UserError(f"{name} is missing")
    value = foreign[name]
    whole = isinstance(value, int) and not isinstance(value, bool)
    return check(value, hint, name, {"low": low, "high": LARGEST if whole else None})


def take_dropout(foreign: Mapping[str, Any], names: Sequence[str], default: float = 0.1) -> float:
    """model.dropout: of what enters the stream, for which the foreign library has a field of each
    place.

    Where they differ, the first is taken, and the others are named in a warning. Raises UserError.
    """
    rates = {name: take(foreign, name, float, default, low=0.0) for name in names}
    taken = rates.pop(names[0])
    if others := {name: rate for name, rate in rates.items() if rate != taken}:
        said = ", ".join(f"{name} {rate}" for name, rate in others.items())
        logger.warning(
            "model.dropout is %s %s for all that enters the stream; left out: %s",
            names[0],
            taken,
            said,
        )
    return taken


def choose(
    foreign: Mapping[str, Any], name: str, known: Mapping[Any, Any], default: Any = _NEEDED
) -> Any:
    """What `known` makes of a field's value; `default`, too, is a key of it. Raises UserError for
    another value.
    """
    value = take(foreign, name, str, default)
    if value not in known:
        raise UserError(f"{name} {value!r} is not supported; known: {', '.join(map(str, known))}")
    return known[value]


def expect(foreign: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises UserError for a field that is there and says anything else than the one value that is
    supported.
    """
    for name, value in wanted.items():
        given = foreign.get(name, value)
        if given != value or isinstance(given, bool) != isinstance(value, bool):
            raise UserError(f"{name} {given!r} is not supported; only {value!r} is")


def demand(config: Any, architecture: str, wanted: Mapping[str, Any]) -> None:
    """Raises UserError for a setting of ours that is not the one that the architecture can express."""
    needs = {name: value for name, value in wanted.items() if getattr(config, name) != value}
    for name, value in needs.items():
        given = getattr(config, name)
        raise Refused(
            f"model.{name} {given!r} cannot be written as {architecture}, which has {value!r}",
            needs,
        )


def demand_all(
    config: Any, architecture: str, wanted: Mapping[str, Any], written: Collection[str] = ()
) -> None:
    """Raises UserError for a setting that the architecture cannot express: one that is neither as
    wanted, nor among those that the mapping writes itself, nor at its default.
    """
    passed = {*WRITTEN, *written, *wanted}
    others = {
        field.name: field.default
        for field in dataclasses.fields(config)
        if field.metadata["changes_result"] and field.name not in passed
    }
    demand(config, architecture, {**wanted, **others})


def spell(config: Any, name: str, architecture: str, known: Mapping[Any, Any]) -> Any:
    """What the architecture calls a setting's value. Raises UserError for one that it has not."""
    value, names = getattr(config, name), inverse(known)
    if value not in names:
        raise Refused(
            f"model.{name} {value!r} cannot be written as {architecture}",
            {name: next(iter(known.values()))},
        )
    return names[value]


class Refused(UserError):
    """A model that an architecture cannot express, and the settings with which it could."""

    def __init__(self, message: str, needs: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.needs = dict(needs)


def inverse(known: Mapping[Any, Any]) -> dict[Any, Any]:
    """Ours to theirs; where several of theirs are one of ours, the first."""
    return {ours: theirs for theirs, ours in reversed(list(known.items()))}
