"""Reads the fields of a foreign config.json with checks; an error names the field."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from lm_lab.plain import plain
from lm_lab.schema import build, keys
from lm_lab.types import UserError
from lm_lab.values import check

T = TypeVar("T")
logger = logging.getLogger(__name__)

_NEEDED = object()
LARGEST = 2**31 - 1  # largest integer: no tensor has an axis as long

# Settings that every mapping writes, that have no meaning without the part that they belong to, or
# that matter for training alone.
WRITTEN = (
    "width",
    "depth",
    "heads",
    "kv_heads",
    "head_dim",
    "vocab",
    "length",
    "feed_forward_dim",
    "activation",
    "tied",
    "base_width",
)
WRITTEN += ("norm_epsilon", "dropout", "scan", "positions.base")
WRITTEN += tuple(
    f"positions.scaling.{name}"
    for name in ("name", "factor", "low_factor", "high_factor", "length")
)
WRITTEN += tuple(
    f"feed_forward.{name}" for name in ("count", "per_token", "capacity_factor", "balance_weight")
)

# of layers without a gate: the library's names, and ours
PLAIN_ACTIVATIONS = {
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu": "gelu_exact",
    "relu": "relu",
}


# Fields that no mapping reads and that do not change what a model computes: its name,
# initialisation, what generation and other heads start from, how transformers computes.
_NAMES = """
    _attn_implementation _attn_implementation_autoset _name_or_path architectures
    chunk_size_feed_forward classif_dropout classifier_dropout dense_act_fn dtype
    gradient_checkpointing id2label is_encoder_decoder is_gated_act label2id model_type n_ctx
    name_or_path output_attentions output_hidden_states output_router_logits output_past
    finetuning_task problem_type qa_dropout reorder_and_upcast_attn return_dict
    return_dict_in_generate seq_classif_dropout sinusoidal_pos_embds attention_softmax_in_fp32
    cache_implementation classifier_pooling deterministic_flash_attn reference_compile
    repad_logits_with_grad scale_attention_softmax_in_fp32 sparse_pred_ignore_index
    sparse_prediction tie_weights_ cls_token_id initializer_cutoff_factor router_aux_loss_coef
    static_position_embeddings summary_activation summary_first_dropout summary_proj_to_labels
    summary_type summary_use_proj task_specific_params tokenizer_class torch_dtype
    transformers_version use_associative_scan use_cache use_mambapy residual_in_fp32

    final_w_init_variance_scale init_std initializer_factor initializer_range
    rescale_prenorm_residual time_step_floor time_step_init_scheme time_step_max time_step_min
    time_step_scale w_init_variance_scale

    bad_words_ids begin_suppress_tokens bos_token_id decoder_start_token_id diversity_penalty
    do_sample early_stopping encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id length_penalty
    max_length min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences
    output_scores pad_token_id prefix remove_invalid_values repetition_penalty sep_token_id
    suppress_tokens temperature top_k top_p typical_p
"""
HARMLESS = frozenset(_NAMES.split())
# Likewise, as long as they have these values.
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
    """A foreign config that records which of its fields were read."""

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
        """As `dict.get`."""
        self.asked.add(name)
        return super().get(name, default)

    def __or__(self, other: Any) -> "Fields":
        return Fields(dict.__or__(self, other), self.asked)

    def __ror__(self, other: Any) -> "Fields":
        return Fields(dict(other) | dict(self.items()), self.asked)

    def left(self) -> dict[str, Any]:
        """The fields that were never read, without the harmless ones."""
        strange = {name: value for name, value in self.items() if name not in self.asked | HARMLESS}
        return {name: value for name, value in strange.items() if not _is_harmless(name, value)}


def _is_harmless(name: str, value: Any) -> bool:
    # transformers writes None for a missing part
    return name in HARMLESS_AS and (value is None or value == HARMLESS_AS[name])


def take(
    foreign: Mapping[str, Any],
    name: str,
    hint: Any,
    default: Any = _NEEDED,
    *,
    low: float | None = None,
) -> Any:
    """A field's value, of the hinted type and not below `low`; the default if it is absent.

    Raises UserError.
    """
    if name not in foreign and default is not _NEEDED:
        return default
    if name not in foreign:
        raise UserError(f"{name} is missing")
    value = foreign[name]
    is_int = isinstance(value, int) and not isinstance(value, bool)
    return check(value, hint, name, {"low": low, "high": LARGEST if is_int else None})


def take_dropout(foreign: Mapping[str, Any], names: Sequence[str], default: float = 0.1) -> float:
    """model.dropout, for which the foreign library has one field for each place.

    If they differ, the first is used, and a warning names the others. Raises UserError.
    """
    rates = {name: take(foreign, name, float, default, low=0.0) for name in names}
    first = rates.pop(names[0])
    if other_rates := {name: rate for name, rate in rates.items() if rate != first}:
        listed = ", ".join(f"{name} {rate}" for name, rate in other_rates.items())
        logger.warning(
            "model.dropout is %s %s for all that enters the stream; left out: %s",
            names[0],
            first,
            listed,
        )
    return first


def choose(
    foreign: Mapping[str, Any], name: str, known: Mapping[Any, Any], default: Any = _NEEDED
) -> Any:
    """The entry of `known` for a field's value (default: the key `default`).

    Raises UserError for another value.
    """
    value = take(foreign, name, str, default)
    if value not in known:
        raise UserError(f"{name} {value!r} is not supported; known: {', '.join(map(str, known))}")
    return known[value]


def flat(config: Any) -> dict[str, Any]:
    """Our settings by dotted keys, as "positions.name"."""
    return dict(_leaves(plain(config), ""))


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def config_of(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """The settings class built from dotted keys. Raises UserError for wrong settings."""
    return build(cls, nested(values), where)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as a tree: {"positions.name": "alibi"} is {"positions": {"name": "alibi"}}."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def changed(config: T, needs: Mapping[str, Any]) -> T:
    """Our settings with others by dotted keys; a choice that changes loses the settings of its old
    option.
    """
    choices = [key.removesuffix("name") for key in needs if key.endswith(".name")]
    unchanged = {
        key: value for key, value in flat(config).items() if not key.startswith(tuple(choices))
    }
    return config_of(type(config), {**unchanged, **needs}, "config.model")


def expect(foreign: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises UserError if a field is present with any value other than the one supported."""
    for name, value in wanted.items():
        present = foreign.get(name, value)
        if present != value or isinstance(present, bool) != isinstance(value, bool):
            raise UserError(f"{name} {present!r} is not supported; only {value!r} is")


def demand(config: Any, architecture: str, wanted: Mapping[str, Any]) -> None:
    """Raises UserError for a setting of ours other than the one that
    the architecture can express.
    """
    settings = flat(config)
    actual_values = {
        name: settings.get(name) if "." in name else getattr(config, name) for name in wanted
    }
    needs = {name: value for name, value in wanted.items() if actual_values[name] != value}
    for name, value in needs.items():
        actual = actual_values[name]
        raise Refused(
            f"model.{name} {actual!r} cannot be written as {architecture}, which has {value!r}",
            needs,
        )


def demand_all(
    config: Any, architecture: str, wanted: Mapping[str, Any], written: Collection[str] = ()
) -> None:
    """Raises UserError for a setting that the architecture cannot express.

    A setting passes if it is as in `wanted`, among those that the mapping itself writes, or at its
    default.
    """
    passed = {*WRITTEN, *written, *wanted}
    defaults = {
        key.key: key.default
        for key in keys(type(config), plain(config))
        if key.field.metadata["changes_result"] and key.key not in passed
    }
    demand(config, architecture, {**wanted, **defaults})


def spell(config: Any, name: str, architecture: str, known: Mapping[Any, Any]) -> Any:
    """The architecture's name for a setting's value. Raises UserError if it has none."""
    value, names = getattr(config, name), inverse(known)
    if value not in names:
        raise Refused(
            f"model.{name} {value!r} cannot be written as {architecture}",
            {name: next(iter(known.values()))},
        )
    return names[value]


class Refused(UserError):
    """A model that an architecture cannot express, with the settings that it would need."""

    def __init__(self, message: str, needs: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.needs = dict(needs)


def inverse(known: Mapping[Any, Any]) -> dict[Any, Any]:
    """The inverse mapping, ours to theirs; of several foreign values the first."""
    return {ours: theirs for theirs, ours in reversed(list(known.items()))}
