"""ConfigDict -> Experiment: the one door of the config system.

A ConfigDict carries values and overrides, nothing more. What exists, of which type and range, with
which default, is said by the frozen dataclass beside each consumer.
"""

import dataclasses
import importlib.util
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from lm_lab import shipped
from lm_lab.contracts import Family, Objective
from lm_lab.data import loader
from lm_lab.plain import plain
from lm_lab.registry import load as load_value
from lm_lab.runs import versions
from lm_lab.schema import Chosen, build, check_read, suggest
from lm_lab.train import initial
from lm_lab.train.experiment import Experiment, complete
from lm_lab.train.sections import flat
from lm_lab.types import DataForm, UserError

FORMS: dict[DataForm, str] = {
    "stream": "a stream of text",
    "pairs": "pairs of texts",
    "labelled": "labelled texts",
    "preferences": "prompts with a chosen and a rejected answer",
}


def load(path: str) -> ConfigDict:
    """The ConfigDict of a config file: what its get_config() returns. "file.py:text" calls
    get_config("text"); "configs/NAME.py" is lm_lab's own where the current folder has none.

    Raises UserError where the file is missing, fails, or has no get_config().
    """
    name, _, argument = path.partition(":")
    file = shipped.find(Path(name))
    if file.suffix != ".py" or not file.is_file():
        there = sorted(file.parent.glob("*.py")) if file.parent.is_dir() else []
        near = [str(other) for other in there if other.is_file()]
        raise UserError(f"config: no Python file {name!r}; {suggest(name, near)}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if "get_config" not in vars(module):
            raise UserError(
                f"config: {name} has no get_config(); define it, and return a ConfigDict"
            )
        config = module.get_config(*([argument] if argument else []))
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's file raises is the user's to mend
        raise UserError(
            f"config: {name}{_line(file, error)} fails: {type(error).__name__}: {error}"
            + ("; put its folder on PYTHONPATH" if isinstance(error, ModuleNotFoundError) else "")
        ) from None
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"config: get_config() of {name} returns a {type(config).__name__}, not a ConfigDict"
        )
    return config


def _line(file: Path, error: BaseException) -> str:
    """The line of the config file at which it failed, as ":3"; "" for a syntax error, whose own
    text names the line.
    """
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == file.resolve()]
    return f":{lines[-1]}" if lines else ""


def override(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """A copy with dotted keys set: {"model.depth": 4, "model.positions.base": 1e4}. A name or a
    mapping replaces a whole choice: {"model.positions": {"name": "alibi"}}. What keys and values
    may be is checked by `resolve`.

    Raises UserError for what is no config, or no dotted key of one.
    """
    if not isinstance(config, ConfigDict) or not isinstance(changes, Mapping):
        wrong = changes if isinstance(config, ConfigDict) else config
        raise UserError(
            f"a config is a ConfigDict, and what overrides it a dict of dotted keys, not {wrong!r}"
        )
    values = config.to_dict()
    for key, value in changes.items():
        *path, last = str(key).split(".")
        node = values
        for depth, part in enumerate(path, 1):
            if isinstance(node.setdefault(part, {}), str):  # the name of a choice
                node[part] = {"name": node[part]}
            node = node[part]
            if not isinstance(node, dict):
                parent = ".".join(path[:depth])
                raise UserError(f"config.{key} does not exist; config.{parent} has no fields")
        node[last] = value
    return wrap(values)


def wrap(values: Mapping[str, Any]) -> ConfigDict:
    """Plain values as a ConfigDict. Raises UserError for a key that none can have, as __class__ or
    one with a dot.
    """
    try:
        return ConfigDict(values)
    except (AttributeError, ValueError) as error:
        raise UserError(f"a config has a key that does not exist: {error}") from None


def resolve(config: ConfigDict, *, stored: bool = False) -> tuple[Experiment, dict[str, Any]]:
    """A config as a typed Experiment, and as plain values, complete with every default but for the
    model's vocabulary, which train.task.bind fills in: no text is read here.

    Where train.initial names a run, settings of model, tokenizer and a continued adapter that the
    config leaves out are taken from that run; a `stored` config is complete already.

    Raises UserError for a key that does not exist (with the nearest that does), a missing one, a
    wrong type, a value out of range, or values that do not go together.
    """
    values = config.to_dict() if stored else initial.inherited(config.to_dict())
    versions.refuse_old(flat(values))
    parsed = _anchored(build(Experiment, values, "config"), stored)
    family = load_value("models", parsed.model.name, "config.model.family")
    kind = load_value("objectives", parsed.objective.name, "config.objective.name")
    parsed = _fitted(parsed, family, kind)
    data = parsed.data
    length = kind.model_length(
        parsed.objective.settings, data.length, data.context_length or data.length
    )
    given = config.to_dict()
    if not stored:
        check_read(parsed, _without_length(given, length), "config")
    model = given.get("model")
    its_own = stored or (isinstance(model, Mapping) and "length" in model)
    settings = _with_length(family, parsed.model.settings, length, grows=not its_own)
    experiment = replace(parsed, model=parsed.model._replace(settings=settings))
    return experiment, plain(experiment)


def _anchored(config: Experiment, stored: bool) -> Experiment:
    """The config with train.initial and train.branch_from as absolute paths, so that they name the
    same runs from any current folder. In a stored config a branch may name a run beside it.
    """
    named = {"initial": config.train.initial}
    named |= {} if stored else {"branch_from": config.train.branch_from}
    places = {
        key: str(Path(run).expanduser().absolute()) for key, run in named.items() if run is not None
    }
    return replace(config, train=replace(config.train, **places))


def _fitted(config: Experiment, family: Family, kind: Objective) -> Experiment:
    """The config with the settings filled in that the objective derives from the model. Raises
    UserError where objective, model and data clash.
    """
    name, objective = config.objective
    where = f"config.objective.name {name!r}"
    settings = complete(kind, objective, family, config.model.settings, where)
    wanted = kind.consumes
    if kind.reference is not None and config.train.initial is None:
        raise UserError(
            f"{where} compares answers with the model that training starts from; name its run in "
            "config.train.initial"
        )
    for label, member in config.data.members.items():
        source, settings_of = member.source
        key = loader.key(label)
        gives = load_value("data.sources", source, key).form(settings_of)
        if wanted != gives:
            raise UserError(
                f"config.objective.name {name!r} learns from {FORMS[wanted]}, and {key} "
                f"{source!r} gives {FORMS[gives]}; choose another of the two"
            )
    if config.data.pack and not (
        wanted in ("labelled", "preferences") or (wanted == "pairs" and family.needs_context)
    ):
        raise UserError(
            "config.data.pack is for texts with labels, for preferences, and for pairs whose "
            "source is a model's context; leave it out"
        )
    return replace(config, objective=Chosen(name, settings))


def _without_length(values: dict[str, Any], length: int) -> dict[str, Any]:
    """The values without model.length where it equals what `resolve` fills in: a complete config
    states it even if the positions do not read it, and that is no mistake.
    """
    model = values.get("model")
    if not isinstance(model, Mapping) or model.get("length") != length:
        return values
    return {**values, "model": {key: each for key, each in model.items() if key != "length"}}


def _with_length(family: Family, model: Any, least: int, *, grows: bool) -> Any:
    """The model's settings with the length filled in, where the family has one. With `grows` (the
    length was taken from another run), it is raised to `least` where no parameter depends on it.
    Raises UserError where it is too small, or a size is beyond what arrays have here.
    """
    for field in dataclasses.fields(model):
        if isinstance(size := getattr(model, field.name), int) and abs(size) >= 2**31:
            raise UserError(f"config.model.{field.name} must be below 2**31, not {size:.3g}")
    if "length" not in {field.name for field in dataclasses.fields(model)}:
        return model
    if model.length is None or (
        grows and model.length < least and family.max_length(model) is None
    ):
        return dataclasses.replace(model, length=least)
    if model.length < least and grows:
        raise UserError(
            f"{initial.KEY} has learnt positions for {model.length} tokens, and the data need "
            f"{least}; lower config.data.length"
        )
    if model.length < least:
        raise UserError(
            f"config.model.length {model.length} is below the data's {least}; raise it or leave "
            "it out"
        )
    return model
