"""Configs that earlier releases stored, read as those of this one.

config.json and sweep.json say "version": 2; a file without it is of version 1. Two tables map the
keys of version 1, and all else here follows from them.
"""

from collections.abc import Mapping
from typing import Any

from lm_lab.types import UserError

VERSION = 2
KEY = "version"

MOVED = {
    "optimizer.schedule": "schedule.name",
    "optimizer.warmup_steps": "schedule.warmup_steps",
    "optimizer.decay_fraction": "schedule.decay_fraction",
    "optimizer.final_fraction": "schedule.final_fraction",
    "train.also_examine": "train.also_evaluate",
    "model.positions": "model.positions.name",
    "model.rotary_base": "model.positions.base",
    "model.window_rotary_base": "model.positions.window_base",
    "model.rotary_share": "model.positions.share",
    "model.rotary_scaling": "model.positions.scaling.name",
    "model.rotary_factor": "model.positions.scaling.factor",
    "model.rotary_low_factor": "model.positions.scaling.low_factor",
    "model.rotary_high_factor": "model.positions.scaling.high_factor",
    "model.rotary_length": "model.positions.scaling.length",
    "model.relative_buckets": "model.positions.buckets",
    "model.relative_reach": "model.positions.reach",
    "model.feed_forward": "model.feed_forward_dim",
    "model.feed_forward_kind": "model.feed_forward.name",
    "model.experts": "model.feed_forward.count",
    "model.experts_per_token": "model.feed_forward.per_token",
    "model.capacity_factor": "model.feed_forward.capacity_factor",
    "model.balance_weight": "model.feed_forward.balance_weight",
    "model.experts_kernel": "model.feed_forward.kernel",
    "model.block": "model.block.name",
    "model.state": "model.block.state",
    "model.step_rank": "model.block.step_rank",
    "data.source": "data.source.name",
    "data.tokenizer": "data.tokenizer.name",
    "data.path": "data.source.path",
    "data.field": "data.source.field",
    "data.heldout_path": "data.source.heldout_path",
    "data.form": "data.source.form",
    "data.text": "data.source.text",
    "data.label": "data.source.label",
    "data.header": "data.source.header",
    "data.pattern": "data.source.pattern",
    "data.columns": "data.source.columns",
    "data.spell": "data.source.spell",
    "data.unicode": "data.source.unicode",
    "data.symbols": "data.source.symbols",
    "data.order": "data.source.order",
    "data.concentration": "data.source.concentration",
    "data.language_seed": "data.source.language_seed",
    "data.documents": "data.source.documents",
    "data.document_bytes": "data.source.document_bytes",
    "data.suffix": "data.source.suffix",
    "data.hangul": "data.tokenizer.hangul",
    "data.least_count": "data.tokenizer.least_count",
    "data.tokenizer_file": "data.tokenizer.tokenizer_file",
    "data.end_token": "data.tokenizer.end_token",
    "data.framed": "data.tokenizer.framed",
    "data.pieces": "data.tokenizer.pieces",
    "data.kind": "data.tokenizer.kind",
    "data.target_file": "data.tokenizer.target_file",
    "data.vocab_file": "data.tokenizer.vocab_file",
    "data.begin_token": "data.tokenizer.begin_token",
    "data.sentinels": "data.tokenizer.sentinels",
    "data.most_words": "data.tokenizer.most_words",
}
"""Key of version 1 -> key of version 2. What named a choice has the key of its name."""

READ = {
    "schedule": {
        "constant": ("warmup_steps",),
        "cosine": ("warmup_steps", "final_fraction"),
        "linear": ("warmup_steps", "final_fraction"),
        "wsd": ("warmup_steps", "final_fraction", "decay_fraction"),
    },
    "model.positions": {
        "rotary": ("base", "window_base", "share", "scaling"),
        "relative": ("buckets", "reach"),
        **dict.fromkeys(("learned", "sinusoidal", "alibi", "none"), ()),
    },
    "model.positions.scaling": {
        "none": (),
        "linear": ("factor",),
        "llama3": ("factor", "low_factor", "high_factor", "length"),
    },
    "model.feed_forward": {"dense": ()},
    "model.block": {"mamba": ("state", "step_rank"), "rg_lru": ()},
}
"""Choice of version 2 -> what it may be -> the settings that it reads, by the last parts of their
keys. Version 1 stored those of all options; what the chosen one does not read is dropped. Options
of outside packages keep all.
"""

COMMON = (
    "vocabulary_file",
    "length",
    "context_length",
    "too_long",
    "pack",
    "holdout_fraction",
    "split",
    "isolate_documents",
)  # keys of version 1's data section that belong to neither source nor tokenizer


def read_config(values: Mapping[str, Any], file: Any) -> dict[str, Any]:
    """The values of a stored config in this version's words. Raises
    UserError for a later version.
    """
    version = _version(values, file)
    settings = {name: value for name, value in values.items() if name != KEY}
    return settings if version == VERSION else _from_version_1(settings)


def stamped(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as config.json stores them, with the version."""
    return {KEY: VERSION, **values}


def read_sweep(record: Mapping[str, Any], file: Any) -> dict[str, Any]:
    """A sweep.json in this version's words. Raises UserError for a later version."""
    if _version(record, file) == VERSION:
        return dict(record)
    runs = [
        {
            **run,
            "overrides": {new_key(k): value for k, value in run.get("overrides", {}).items()},
            "config": _from_version_1(run.get("config", {})),
        }
        for run in record.get("runs", ())
    ]
    return {**record, "analysis": _renamed(record.get("analysis", {})), "runs": runs, KEY: VERSION}


def new_key(key: str) -> str:
    """What a dotted key of version 1 is called in this one."""
    return MOVED.get(key, key)


def refuse_old(flat: Mapping[str, Any]) -> None:
    """Raises UserError for a key of version 1 in a config that a user wrote, by dotted key."""
    outside = "." in str(flat.get("model.family", ""))
    names = set(MOVED.values())
    for key, value in flat.items():
        # a name is short for a choice
        short = new_key(key) == f"{key}.name" or (isinstance(value, str) and f"{key}.name" in names)
        is_outside_key = outside and key.startswith("model.")
        if key in MOVED and not short and not is_outside_key:
            raise UserError(f"config.{key} is called config.{new_key(key)}; rename it")


def _version(values: Mapping[str, Any], file: Any) -> int:
    version = values.get(KEY, 1)
    if not isinstance(version, int):
        return 1  # not a file of lm_lab: refused where it is read
    if version > VERSION:
        raise UserError(
            f"{file}: version {version!r} is of a later release of lm_lab; read it with that one"
        )
    return version


def _from_version_1(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the keys of this version; those that have them already stay as they are."""
    flat = {f"{section}.{key}": value for section, key, value in _leaves(values)}
    outside = "." in str(flat.get("model.family", ""))  # an outside family's keys are not renamed
    renamed = {}
    for key, value in flat.items():
        old = not isinstance(value, Mapping) and not (outside and key.startswith("model."))
        renamed[_of_outside_data(new_key(key), flat) if old else key] = value
    top_level = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    return _without_unread(top_level | _nested(renamed))


def _leaves(values: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """(section, key, value); version 1 had one level of sections."""
    sections = {
        name: settings for name, settings in values.items() if isinstance(settings, Mapping)
    }
    return [
        (name, key, value) for name, settings in sections.items() for key, value in settings.items()
    ]


def _of_outside_data(key: str, flat: Mapping[str, Any]) -> str:
    """The key of version 2 for a setting of an outside package's source or tokenizer."""
    section, _, name = key.partition(".")
    if section != "data" or "." in name or name in COMMON:
        return key
    choice = "source" if "." in str(flat.get("data.source", "")) else "tokenizer"
    return f"data.{choice}.{name}"


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The nested sections of values by dotted key."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def _without_unread(values: dict[str, Any]) -> dict[str, Any]:
    for choice, options in READ.items():
        *path, last = choice.split(".")
        node: Any = values
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        chosen = node.get(last) if isinstance(node, dict) else None
        if isinstance(chosen, dict) and (read := options.get(str(chosen.get("name")))) is not None:
            node[last] = {key: setting for key, setting in chosen.items() if key in ("name", *read)}
    return values


def _renamed(node: Any) -> Any:
    """The analysis section of a sweep, with the keys of configs in it renamed wherever they
    stand.
    """
    if isinstance(node, Mapping):
        return {new_key(key): _renamed(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(value) for value in node]
    return new_key(node) if isinstance(node, str) else node
