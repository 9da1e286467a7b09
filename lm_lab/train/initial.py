"""What a run takes from the run that `train.initial` names: parameters, model and tokenizer."""

import dataclasses
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lm_lab import registry
from lm_lab.data import loader
from lm_lab.data.text import Text
from lm_lab.plain import plain
from lm_lab.runs.config import where_from
from lm_lab.runs.trust import packages_of, trusting
from lm_lab.schema import build, reference
from lm_lab.train import carried, restore
from lm_lab.train.experiment import Experiment
from lm_lab.train.sections import flat
from lm_lab.train.trust import packages
from lm_lab.types import PyTree, UserError

logger = logging.getLogger(__name__)

MAY_DIFFER = {
    "scan",
    "dropout",
    "vocab",
    "length",
}  # checked by shapes, or without effect in evaluation
KEY = "config.train.initial"
ADAPTER = "lora"  # the key of adapter parameters beside those of the model
OF_TRAINING = {
    "dropout",
    "also_train",
    "continues",
}  # settings of an adapter that do not say what it computes


def read(experiment: Experiment, text: Text) -> dict[str, np.ndarray]:
    """The parameters of the run that config.train.initial names, by path; {} where it names none.

    With adapter.continues they are its frozen parameters, and those of its adapter under "lora".
    Raises UserError where they cannot be read, or are of a model with other settings.
    """
    if experiment.train.initial is None:
        return {}
    with trusting(packages_of(experiment.modules)):
        return _read(experiment, text, Path(experiment.train.initial))


def _read(experiment: Experiment, text: Text, directory: Path) -> dict[str, np.ndarray]:
    carried.check_base(directory)
    adapter = registry.load("adapters", experiment.adapter.name, "config.adapter.name")
    if adapter.continues(experiment.adapter.settings):
        family, config, params, adapted = restore.load_beginning(directory)
        _check_adapter(adapted.settings, experiment.adapter.settings)
        params = {**params, ADAPTER: adapted.trained["lora"]}
    else:
        family, config, params = restore.load_params(directory)
    if family != experiment.model.name:
        raise UserError(
            f"{KEY} is of family {family}, and config.model.family is {experiment.model.name}; "
            "name the same"
        )
    there, here = (flat(plain(reference(model))) for model in (config, experiment.model.settings))
    other = [key for key in there if key not in MAY_DIFFER and there[key] != here.get(key)]
    if other:
        wanted = " ".join(f"--config.model.{key}={there[key]}" for key in other)
        raise UserError(f"{KEY} is of a model with other settings; give {wanted}")
    _check_tokenizer(experiment, text)
    kind = registry.load("objectives", experiment.objective.name, "config.objective.name")
    return leaves(params) if kind.head is not None else _without_head(leaves(params))


def _without_head(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters of a model inside another (nn/pooling.py), or the given ones where there is
    none.
    """
    place = re.compile(f"^({ADAPTER}/)?model/")
    return {place.sub(r"\1", path): given[path] for path in given if place.match(path)} or given


def inherited(values: Mapping[str, Any]) -> dict[str, Any]:
    """A user's config, completed from the run that config.train.initial names: the tokenizer and
    model settings that it leaves out, and the settings of a continued adapter. Raises UserError
    where neither has a tokenizer, and where an adapter is to be continued and no run is named.
    """
    train, adapter = (values.get(name, {}) for name in ("train", "adapter"))
    named = train.get("initial") if isinstance(train, Mapping) else None
    goes_on = isinstance(adapter, Mapping) and adapter.get("continues")
    if goes_on and named is None:
        raise UserError(
            f"config.adapter.continues needs {KEY}, the run whose adapter it goes on with"
        )
    if not isinstance(named, str) or not (Path(named).expanduser() / "config.json").is_file():
        if isinstance(named, str) and "model" not in values:
            why = f"{named} is no run's directory, for it has no config.json"
            raise UserError(f"{KEY}: {why}; {where_from(Path(named).expanduser())}")
        return dict(values)  # the error is raised where it is read
    directory = Path(named).expanduser()
    with trusting(packages(values)):
        stored = carried.anchored(directory, restore.read_config(directory))
    restore.refuse_foreign(directory, stored)
    completed = dict(values)
    if isinstance(stored.get("model"), Mapping) and isinstance(completed.get("model", {}), Mapping):
        completed["model"] = _model(stored["model"], completed)
    if goes_on and isinstance(stored.get("adapter"), Mapping):
        completed["adapter"] = dict(stored["adapter"]) | dict(adapter)
    data = completed.get("data", {})
    if isinstance(data, Mapping) and "tokenizer" not in data:
        completed["data"] = _tokenizer(directory, stored) | dict(data)
    return completed


def _model(stored: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The model section, completed from the stored one in all settings that decide results."""
    given = values.get("model", {})
    family = stored.get("family")
    if not isinstance(family, str) or given.get("family", family) != family:
        return dict(given)
    fields = dataclasses.fields(
        registry.load("models", family, f"{KEY}: config.model.family").Config
    )
    kept = {
        f.name: stored[f.name]
        for f in fields
        if f.name in stored and f.metadata.get("changes_result", True)
    }
    return {"family": family, **_merged(kept, given)}


def _merged(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The stored settings updated with the given ones; a choice with another name is replaced as a
    whole.
    """
    values = dict(stored)
    for key, value in given.items():
        there = stored.get(key)
        values[key] = value
        if isinstance(value, Mapping) and isinstance(there, Mapping) and _same_option(there, value):
            values[key] = _merged(there, value)
    return values


def _same_option(stored: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    return given.get("name", stored.get("name")) == stored.get("name")


def _tokenizer(directory: Path, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the stored run's data section that define its tokenizer."""
    section = stored.get("data")
    if not isinstance(section, Mapping):
        raise UserError(
            f"{KEY}: {directory} has no tokenizer that is read here; name one, by "
            "--config.data.tokenizer"
        )
    restore.check_learnt(directory, stored)
    config = build(loader.Config, section, f"{directory / 'config.json'}: config.data")
    learnt = Text(config).learnt_file
    kept = {"tokenizer": plain(config)["tokenizer"]}
    return kept if learnt is None else kept | {"vocabulary_file": str(learnt)}


def _check_tokenizer(experiment: Experiment, text: Text) -> None:
    """Raises UserError where the run in train.initial has another tokenizer. If its tokenizer
    learnt from a text that is gone, and the run did not keep what was learnt, equal settings are
    enough.
    """
    directory = Path(str(experiment.train.initial))
    section = carried.anchored(directory, restore.read_config(directory)).get("data")
    if not isinstance(section, Mapping):
        return
    try:
        stored = build(loader.Config, section, f"{directory / 'config.json'}: config.data")
        there = Text(stored).codec
    except UserError as error:
        logger.warning("the tokenizer of %s cannot be compared: %s", directory, error)
        return
    if there.identity != text.codec.identity:
        raise UserError(
            f"config.data.tokenizer {experiment.data.tokenizer.name!r} is not that of {KEY}, "
            f"which has {stored.tokenizer.name!r}; leave out "
            "config.data.tokenizer and its settings, "
            "which are then the same"
        )


def filled(params: PyTree, given: Mapping[str, Any]) -> PyTree:
    """The parameters (boxed or not) with the given values.

    A model inside another (nn/pooling.py) is filled with parameters of the bare model. Whole
    modules at the top level, as a head, may be missing from either side. Raises UserError naming
    anything else that is missing, too much, or of another shape.
    """
    wanted = leaves(params)
    if any(path.startswith("model/") for path in wanted) and not any(
        path.startswith("model/") for path in given
    ):
        given = {f"model/{path}": leaf for path, leaf in given.items()}
    _check(given, wanted)
    return jax.tree_util.tree_map_with_path(lambda path, leaf: given.get(_name(path), leaf), params)


def _check_adapter(there: Any, here: Any) -> None:
    names = [field.name for field in dataclasses.fields(there) if field.name not in OF_TRAINING]
    for name in names:
        if getattr(there, name) != getattr(here, name):
            raise UserError(
                f"{KEY} has an adapter with {name} {getattr(there, name)}, and "
                f"config.adapter.{name} is "
                f"{getattr(here, name)}; leave it out"
            )


def continued(trained: PyTree, given: Mapping[str, Any]) -> PyTree:
    """The trained parameters, with the given adapters in place of new ones. Raises UserError where
    their layers or shapes differ.
    """
    stored = {path: leaf for path, leaf in given.items() if path.startswith(f"{ADAPTER}/")}
    if not stored:
        return trained
    inner = (
        "model/" if any(path.startswith(f"{ADAPTER}/model/") for path in leaves(trained)) else ""
    )
    stored = {
        path.replace(f"{ADAPTER}/", f"{ADAPTER}/{inner}", 1): leaf for path, leaf in stored.items()
    }
    fresh = {path: leaf for path, leaf in leaves(trained).items() if path.startswith(f"{ADAPTER}/")}
    for path in sorted(stored.keys() | fresh.keys()):
        there, here = (
            list(side[path].shape) if path in side else "absent" for side in (stored, fresh)
        )
        if there != here:
            raise UserError(
                f"{KEY}: adapter {path} is {there} there and {here} by config.adapter; make "
                "them the same"
            )
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            jnp.asarray(stored[_name(path)], leaf.dtype) if _name(path) in stored else leaf
        ),
        trained,
    )


def _check(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if not given:
        return
    tops, modules = ({_top(path) for path in paths} for paths in (given, wanted))
    for path in sorted(given.keys() | wanted.keys()):
        there, here = (
            list(leaves[path].shape) if path in leaves else "absent" for leaves in (given, wanted)
        )
        new_or_left = _top(path) not in tops or _top(path) not in modules
        if there != here and not new_or_left:
            raise UserError(
                f"{KEY}: parameter {path} is {there} there and {here} by config.model and "
                "config.objective; make them the same"
            )


def _top(path: str) -> str:
    return "/".join(path.split("/")[: 2 if path.startswith("model/") else 1])


def check_frozen(frozen: PyTree, given: Mapping[str, Any]) -> None:
    """Raises UserError for a frozen parameter that is not given: it would stay at its random
    initialisation.
    """
    for path in leaves(frozen):
        if given and path not in given and path.removeprefix("model/") not in given:
            raise UserError(
                f"parameter {path} is not in {KEY}, and config.adapter trains it not; let it be "
                "trained"
            )


def leaves(tree: PyTree) -> dict[str, Any]:
    """Leaves by path, as in layers/attention/query/kernel."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value")
