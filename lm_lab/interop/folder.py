"""Reads and writes a model's folder as transformers has it: config.json and model.safetensors.

The weights may come in shards.
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from lm_lab import registry
from lm_lab.interop import architectures, nearest, tensors, weights
from lm_lab.interop.fields import Fields, config_of, expect, flat
from lm_lab.interop.mapping import ModelMapping, Rule, to_ours, to_theirs
from lm_lab.interop.tokenizers import special_ids
from lm_lab.nn.trees import flatten
from lm_lab.runs.durable import explained, new_folder
from lm_lab.runs.reading import read_object
from lm_lab.schema import suggest
from lm_lab.train.preemption import Signals
from lm_lab.train.restore import abstract_params
from lm_lab.types import PyTree, UserError
from lm_lab.values import first_few

logger = logging.getLogger(__name__)

NAMED = 8  # most fields that a warning names
# fields that we write under another name, or that describe the original files
REPLACED = (
    "_name_or_path",
    "auto_map",
    "quantization_config",
    "rope_scaling",
    "rope_theta",
    "torch_dtype",
)
ROOM = (
    2**24
    # most numbers that a model may have beyond twice those of its tensors, before both are compared
)


def load(
    folder: Path, dtype: str = "float32", *, allow_nonfinite: bool = False
) -> tuple[str, Any, PyTree]:
    """(family, its Config, NumPy parameters of the dtype).

    Fields of the config that are not understood are named in a warning, and so is a head that
    differs from the embedding although the config ties them. NaN and infinite weights are refused
    unless `allow_nonfinite`. Raises UserError naming the file and the tensor or field.
    """
    foreign = Fields(read_config(folder) | special_ids(folder))
    with named(folder / "config.json"):
        mapping = architectures.find(_architecture(foreign))
        _check_code(foreign)
        expect(foreign, {"quantization_config": None})
        family = registry.load("models", mapping.family, "family")
        config = config_of(family.Config, mapping.read_config(foreign), mapping.architectures[0])
        _name_left(folder / "config.json", foreign)
    arrays = _renamed(mapping, weights.read(folder))
    with named(folder):
        _check_depth(config, arrays)
        rules = mapping.rules(config)
        arrays = _prefixed(mapping, rules, arrays)
        config, rules = _untied(folder, mapping, config, rules, arrays)
        shapes = {
            path: leaf.shape
            for path, leaf in flatten(abstract_params(mapping.family, config)).items()
        }
        _check_size(shapes, arrays)
        params = to_ours(
            rules,
            arrays,
            shapes=shapes,
            ignored=mapping.ignored,
            optional=mapping.optional,
            dtype=jnp.dtype(dtype),
            allow_nonfinite=allow_nonfinite,
        )
    return mapping.family, config, params


def save(
    folder: Path,
    family: str,
    config: Any,
    params: PyTree,
    architecture: str | None = None,
    beside: Sequence[Path] = (),
    kept: Mapping[str, Any] | None = None,
    written: Mapping[str, Any] | None = None,
) -> str:
    """Writes a model atomically, with copies of the files `beside` and what is `written` as JSON,
    by name; returns the architecture.

    That is the one asked for, or the first that fits. `kept` is the config.json that the model was
    read from, whose special ids and other fields that do not concern its shape are written again;
    or special ids alone. Raises UserError if the folder is taken, or naming the setting that the
    architecture cannot express.
    """
    if "model" in params:
        raise UserError(
            "the run learnt labels of texts, and its head has no form that transformers reads; "
            "name a run with logits of tokens"
        )
    mapping, foreign = _describe(family, config, architecture)
    foreign = _with_kept(mapping, foreign, kept or {})
    arrays = to_theirs(mapping.rules(config), params)
    foreign["dtype"] = str(next(iter(arrays.values())).dtype)
    with drafted(folder) as draft:
        (draft / "config.json").write_text(json.dumps(foreign, indent=2) + "\n", "utf-8")
        tensors.write(draft / weights.FILES[0], arrays)
        for path in beside:
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, draft / path.name)
        for name, value in (written or {}).items():
            (draft / name).write_text(json.dumps(value, ensure_ascii=False) + "\n", "utf-8")
    return foreign["architectures"][0]


def _with_kept(
    mapping: ModelMapping[Any], ours: dict[str, Any], kept: Mapping[str, Any]
) -> dict[str, Any]:
    """The config that we write, with the fields kept from the one that was read."""
    ids = {name: value for name, value in kept.items() if name.endswith("_token_id")}
    if "model_type" not in kept:
        return ours | ids
    # If it did not give an id, the default of its class was meant.
    shape = {name: value for name, value in ours.items() if not name.endswith("_token_id")}
    if kept["model_type"] != ours["model_type"]:
        return shape | ids
    other_fields = {
        name: value for name, value in kept.items() if name not in ours and name not in REPLACED
    }
    merged = other_fields | shape | ids
    if mapping.read_config(merged) != mapping.read_config(shape | ids):
        return shape | ids
    return {name: merged[name] for name in (*ours, *merged) if name in merged}


def _describe(
    family: str, config: Any, architecture: str | None
) -> tuple[ModelMapping[Any], dict[str, Any]]:
    """The mapping and the foreign config of a model."""
    refusals = []
    for mapping in architectures.of_family(family):
        if architecture is not None and architecture not in mapping.architectures:
            continue
        try:
            foreign = mapping.write_config(config)
        except UserError as error:
            refusals.append(str(error))
            continue
        name = mapping.architectures[0]
        if architecture in (None, name):
            return mapping, foreign
        refusals.append(f"its settings are those of {name}, not of {architecture}")
    known = sorted(
        name for mapping in architectures.of_family(family) for name in mapping.architectures
    )
    if not refusals:
        raise UserError(
            f"a model of family {family} is no {architecture}; {suggest(str(architecture), known)}"
        )
    reason = "; ".join(refusals) if architecture else nearest.NONE_FITS
    raise UserError(reason + nearest.described(family, config, architecture))


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises UserError."""
    if (folder / "config.json").exists():
        weights.check_file(folder / "config.json")
    return read_object(folder / "config.json", "name a model's folder, or fetch it again")


@contextlib.contextmanager
def drafted(folder: Path) -> Iterator[Path]:
    """A draft that becomes the folder when the block ends, and is deleted if it raises.

    The folder is on the disk before the draft is renamed; a signal deletes the draft too. Raises
    UserError if the folder is not empty, or cannot be written.
    """
    place = folder.absolute()  # "." has no name
    with Signals("raise"), explained(folder, "write"):
        check_free(folder)
        with new_folder(place, place.with_name(f".{place.name}.{os.getpid()}.tmp")) as draft:
            draft.mkdir(parents=True)
            yield draft


def check_free(folder: Path) -> None:
    """Raises UserError if the name is taken by a file, or by a folder that is not empty."""
    with explained(folder, "write"):
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise UserError(f"{folder} is taken; choose another folder, or delete it")


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Prepends the path to the message of a UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _architecture(foreign: Mapping[str, Any]) -> str:
    named = foreign.get("architectures")
    if not isinstance(named, list) or len(named) != 1 or not isinstance(named[0], str):
        raise UserError(f"architectures must be a list with one name, not {named!r}")
    return named[0]


def _renamed(mapping: ModelMapping[Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors, with the endings of old names replaced by those of today."""
    for old, new in mapping.renamed.items():
        arrays = {
            f"{name.removesuffix(old)}{new}" if name.endswith(old) else name: tensor
            for name, tensor in arrays.items()
        }
    return arrays


def _check_code(foreign: Mapping[str, Any]) -> None:
    if foreign.get("auto_map"):
        raise UserError(
            "auto_map names code that comes with the model; none is run, and what it computes is "
            "unknown"
        )


def _name_left(path: Path, foreign: Fields) -> None:
    """Warns of the fields that no mapping understands."""
    if left := sorted(foreign.left().items()):
        listed = first_few([f"{name} {str(value)[:40]}" for name, value in left], NAMED)
        logger.warning("%s: left out, for they mean nothing here: %s", path, listed)


def _check_depth(config: Any, arrays: Mapping[str, Any]) -> None:
    """Raises UserError if there are fewer tensors than layers or experts.

    It comes before anything is made for each layer.
    """
    settings = flat(config)
    counts = {name: settings.get(name) or 0 for name in ("depth", "encoder_depth")}
    if settings.get("feed_forward.name") == "experts":
        counts["experts"] = config.feed_forward.count
    for name, count in counts.items():
        if count > len(arrays):
            raise UserError(
                f"config.json says {name} {count}, and there are {len(arrays)} tensors; fetch both "
                "again"
            )


def _check_size(shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, np.ndarray]) -> None:
    """Raises UserError if config.json describes a model far larger than the tensors.

    It comes before any memory is allocated.
    """
    needed, held = (
        sum(map(prod, shapes.values())),
        sum(tensor.size for tensor in arrays.values()),
    )
    if needed > 2 * held + ROOM:
        raise UserError(
            f"config.json describes {needed:,} numbers, and its tensors hold {held:,}; fetch both "
            "again"
        )


def _prefixed(
    mapping: ModelMapping[Any], rules: Sequence[Rule], arrays: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The tensors under the names of the rules; a model without its head lacks the prefix."""
    prefix = mapping.prefix
    if not prefix or any(name.startswith(prefix) for name in arrays):
        return arrays
    rule_names = {name for rule in rules for names in rule.foreign() for name in names} | {HEAD}
    return {
        name if name in rule_names else f"{prefix}{name}": tensor for name, tensor in arrays.items()
    }


HEAD = "lm_head.weight"  # It has no prefix even if it is tied, and so in no rule.


def _untied(
    folder: Path,
    mapping: ModelMapping[Any],
    config: Any,
    rules: list[Rule],
    arrays: Mapping[str, np.ndarray],
) -> tuple[Any, list[Rule]]:
    """(config, rules) that fit the tensors: untied if the head differs from the embedding.

    Raises UserError if the architecture has no such head, or if another copy of the embedding
    differs.
    """
    embedding = _foreign_name(rules, "embed/embedding")
    if not config.tied or embedding is None or embedding not in arrays:
        return config, rules
    untied = replace(config, tied=False)
    head = _foreign_name(mapping.rules(untied), "head/kernel")
    if head is not None and head in arrays and not _same(arrays[head], arrays[embedding]):
        logger.warning("%s: tensor %s is not the embedding, so model.tied is False", folder, head)
        return untied, mapping.rules(untied)
    for name in mapping.copies:
        if name in arrays and not _same(arrays[name], arrays[embedding]):
            raise UserError(
                f"tensor {name} is not {embedding}, and {mapping.architectures[0]} here has one "
                "for both"
            )
    return config, rules


def _foreign_name(rules: Sequence[Rule], ours: str) -> str | None:
    return next((rule.theirs[0] for rule in rules if rule.ours == (ours,)), None)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True))
