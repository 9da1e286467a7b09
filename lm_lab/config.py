"""ConfigDict -> Experiment: the one door of the config system.

A ConfigDict carries values and overrides, nothing more. What exists, of which type and range, with
which default, is said by the frozen dataclass beside each consumer.
"""

import dataclasses
import importlib.util
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from lm_lab.data import loader
from lm_lab.registry import load as load_value
from lm_lab.registry import names
from lm_lab.schema import build, check, suggest
from lm_lab.train import initial
from lm_lab.train.experiment import Experiment, Horizon, complete, vocabulary
from lm_lab.train.sections import CHOICES, SECTIONS, SETTINGS
from lm_lab.types import UserError

OWN = "own"


def load(path: str) -> ConfigDict:
    """The ConfigDict of a config file: what its get_config() returns. "file.py:text" calls
    get_config("text").

    Raises UserError where the file is missing, fails, or has no get_config().
    """
    name, _, argument = path.partition(":")
    file = Path(name)
    if file.suffix != ".py" or not file.is_file():
        there = sorted(file.parent.glob("*.py")) if file.parent.is_dir() else []
        near = [str(other) for other in there if other.is_file()]
        raise UserError(f"--config: no Python file {name!r}; {suggest(name, near)}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise UserError(
                f"--config: {name} has no get_config(); define it, and return a ConfigDict"
            )
        config = module.get_config(*([argument] if argument else []))
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's file raises is the user's to mend
        raise UserError(
            f"--config: {name}{_line(file, error)} fails: {type(error).__name__}: {error}"
        ) from None
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"--config: get_config() of {name} returns a {type(config).__name__}, not a ConfigDict"
        )
    return config


def _line(file: Path, error: BaseException) -> str:
    """ ":3" for the line of the file at which it failed; a syntax error's own text names it."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == file.resolve()]
    return f":{lines[-1]}" if lines else ""


def override(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """A copy with dotted keys set: {"model.depth": 4}. What they may be is checked by `resolve`.

    Raises UserError for what is no config, or no dotted key of one.
    """
    if not isinstance(config, ConfigDict) or not isinstance(changes, Mapping):
        wrong = changes if isinstance(config, ConfigDict) else config
        raise UserError(
            f"a config is a ConfigDict, and what overrides it a dict of dotted keys, not {wrong!r}"
        )
    plain = config.to_dict()
    for key, value in changes.items():
        section, _, field = str(key).partition(".")
        if not field:
            plain[section] = value
        elif "." in field or not isinstance(plain.setdefault(section, {}), dict):
            raise UserError(
                f"config.{key} does not exist; a key is config.seed or config.SECTION.FIELD"
            )
        else:
            plain[section][field] = value
    return wrap(plain)


def wrap(values: Mapping[str, Any]) -> ConfigDict:
    """Plain values as a ConfigDict. Raises UserError for a key that none can have, as __class__ or
    one with a dot.
    """
    try:
        return ConfigDict(values)
    except (AttributeError, ValueError) as error:
        raise UserError(f"a config has a key that does not exist: {error}") from None


def resolve(config: ConfigDict, *, stored: bool = False) -> tuple[Experiment, dict[str, Any]]:
    """A config as a typed Experiment, and as plain values, complete with every default. What it
    leaves out of model, tokenizer and an adapter that goes on is that of the run that train.initial
    names, unless the config is a `stored` one, complete before.

    Raises UserError for a key that does not exist (with the nearest that does), a missing one, a
    wrong type, a value out of range, or values that do not go together.
    """
    values = config.to_dict() if stored else initial.inherited(config.to_dict())
    for name in values:
        if name not in ("seed", *SECTIONS):
            raise UserError(f"config.{name} does not exist; {suggest(name, ['seed', *SECTIONS])}")
    sections = {name: _section(values, name) for name in SECTIONS}
    chosen = {
        name: {f: _choice(name, f, sections[name]) for f in CHOICES.get(name, {})}
        for name in SECTIONS
    }
    parts = {name: _build(name, sections[name]) for name in SECTIONS}
    parts["train"][OWN] = _anchored(parts["train"][OWN])
    _fit(chosen["objective"]["name"], chosen["model"]["family"], parts)
    needs = _needs(chosen["objective"]["name"], chosen["model"]["family"], parts)
    its_own = stored or "length" in _section(config.to_dict(), "model")
    parts["model"]["family"] = _complete(parts["model"]["family"], needs, grows=not its_own)
    experiment = Experiment(
        seed=check(values.get("seed", 0), int, "config.seed", {"low": 0, "high": 2**32 - 1}),
        family=chosen["model"]["family"],
        model=parts["model"]["family"],
        objective_name=chosen["objective"]["name"],
        objective=parts["objective"]["name"],
        adapter_name=chosen["adapter"]["name"],
        adapter=parts["adapter"]["name"],
        data=parts["data"][OWN],
        source=parts["data"]["source"],
        tokenizer=parts["data"]["tokenizer"],
        optimizer=parts["optimizer"][OWN],
        train=parts["train"][OWN],
        mesh=parts["mesh"][OWN],
        precision=parts["precision"][OWN],
    )
    experiment.exams()
    plain: dict[str, Any] = {"seed": experiment.seed}
    for name in SECTIONS:
        plain[name] = dict(chosen[name])
        for part in parts[name].values():
            plain[name] |= {
                field: _listed(value) for field, value in dataclasses.asdict(part).items()
            }
    return experiment, plain


def _listed(value: Any) -> Any:
    """A tuple as the list that JSON and a ConfigDict have in its place."""
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = values.get(name, {})
    if not isinstance(section, Mapping):
        raise UserError(f"config.{name} must be a section with fields, not {section!r}")
    return dict(section)


def _choice(section: str, field: str, values: Mapping[str, Any]) -> str:
    own = SETTINGS.get(section)
    default = {f.name: f.default for f in dataclasses.fields(own)}.get(field) if own else None
    chosen = values.get(field, default)
    if not isinstance(chosen, str):
        raise UserError(
            f"config.{section}.{field} must name one of: "
            f"{', '.join(names(CHOICES[section][field]))}"
        )
    return chosen


def _parts(section: str, values: Mapping[str, Any]) -> dict[str, type]:
    """The settings classes that share a section: its own, and one for each choice."""
    parts: dict[str, type] = {OWN: SETTINGS[section]} if section in SETTINGS else {}
    for field, kind in CHOICES.get(section, {}).items():
        name, where = _choice(section, field, values), f"config.{section}.{field}"
        parts[field] = load_value(kind, name, where).Config
    return parts


def _build(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    parts = _parts(section, values)
    fields = {
        part: {field.name for field in dataclasses.fields(cls)} for part, cls in parts.items()
    }
    known = set(CHOICES.get(section, {})).union(*fields.values())
    for name in values:
        if name not in known:
            raise UserError(f"config.{section}.{name} does not exist; {suggest(name, list(known))}")
    own = {
        part: {name: value for name, value in values.items() if name in fields[part]}
        for part in parts
    }
    return {part: build(cls, own[part], f"config.{section}") for part, cls in parts.items()}


def _anchored(horizon: Horizon) -> Horizon:
    """The run that this one starts from is the same wherever the config is read again."""
    if horizon.initial is None:
        return horizon
    return dataclasses.replace(horizon, initial=str(Path(horizon.initial).expanduser().absolute()))


def _fit(objective: str, chosen_family: str, parts: dict[str, Any]) -> None:
    """Completes the objective's settings by the model's. Raises UserError where objective, model
    and data clash.
    """
    contract = load_value("objectives", objective, "config.objective.name")
    family = load_value("models", chosen_family, "config.model.family")
    model, where = parts["model"]["family"], f"config.objective.name {objective!r}"
    settings = complete(contract, parts["objective"]["name"], family, model, where)
    source = parts["data"][OWN].source
    wanted, found = (
        contract.consumes,
        load_value("data.sources", source, "config.data.source").provides,
    )
    if wanted != found:
        words = {
            "stream": "a stream of text",
            "pairs": "pairs of texts",
            "labelled": "labelled texts",
        }
        raise UserError(
            f"config.objective.name {objective!r} learns from {words[wanted]}, and "
            f"config.data.source {source!r} gives "
            f"{words[found]}; choose another of the two"
        )
    if parts["data"][OWN].pack and not (wanted == "pairs" and family.needs_context):
        raise UserError(
            "config.data.pack is for pairs whose source is a model's context; leave it out"
        )
    parts["objective"]["name"] = settings


def _needs(objective: str, chosen_family: str, parts: Mapping[str, Any]) -> dict[str, int]:
    """The vocabulary and the length that data and objective ask of a model."""
    contract = load_value("objectives", objective, "config.objective.name")
    family = load_value("models", chosen_family, "config.model.family")
    settings, data = parts["objective"]["name"], parts["data"][OWN]
    tokenizer = loader.open_tokenizer(data, parts["data"]["source"], parts["data"]["tokenizer"])
    known = vocabulary(tokenizer, family, parts["model"]["family"])
    specials = contract.special_ids(settings, data.length, known)
    length = contract.model_length(settings, data.length, data.context_length or data.length)
    return {"vocab": tokenizer.vocab + specials, "length": length}


def _complete(model: Any, needs: Mapping[str, int], *, grows: bool) -> Any:
    """The model's settings with the vocabulary and length filled in. A length that is another
    run's, not the config's own, grows where positions are not learned. Raises UserError where one
    is too small, or a size is beyond what arrays have here.
    """
    for field in dataclasses.fields(model):
        if isinstance(size := getattr(model, field.name), int) and abs(size) >= 2**31:
            raise UserError(f"config.model.{field.name} must be below 2**31, not {size:.3g}")
    for name, least in needs.items():
        given_size = getattr(model, name, least)  # a family may have no use for it
        unlearned = grows and name == "length" and getattr(model, "positions", None) != "learned"
        if given_size is None or (unlearned and given_size < least):
            model = dataclasses.replace(model, **{name: least})
        elif given_size < least:
            raise UserError(
                f"config.model.{name} {given_size} is below the data's {least}; raise it or "
                "leave it out"
            )
    return model
