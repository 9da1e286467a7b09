"""A trained model, from the directory of its run: the start of generation, adaptation and
conversion.

A directory with a model and no run (`lm-lab convert` writes them) has the same form: a config.json
with the `model` section, and one checkpoint with `params`.
"""

import copy
import functools
import hashlib
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lm_lab import registry
from lm_lab.data import loader
from lm_lab.data.text import Text
from lm_lab.engine.average import AVERAGE
from lm_lab.engine.program import like
from lm_lab.engine.sharding import unbox
from lm_lab.nn.pooling import Pooled
from lm_lab.nn.trees import union
from lm_lab.runs import arrays, commits
from lm_lab.runs.config import NAME_A_RUN, read_config_file
from lm_lab.runs.status import warn_if_diverged
from lm_lab.schema import build
from lm_lab.train import carried, trained_on, trust
from lm_lab.train.sections import key_table
from lm_lab.types import Inputs, PyTree, UserError

SOURCES = re.compile(r"data\.sources?\.")  # begins keys of what is read
NOT_MOVED: Mapping[str, Any] = {}


class Adapted(NamedTuple):
    """An adapter that a run trained, and the parameters that it belongs to."""

    name: str  # a module of lm_lab/adapters
    settings: Any  # its Config
    trained: PyTree
    frozen: PyTree


def load_params(directory: Path, average: bool = False) -> tuple[str, Any, PyTree]:
    """(family, its Config, NumPy parameters as they were saved) of the newest checkpoint that is
    whole; with `average` the moving average that the run kept of them.

    An adapter that the run trained is merged into them. Raises UserError naming the file where the
    directory has no run or no checkpoint, or the two do not fit.
    """
    family, config, folder = _model_of(directory)
    content = read_config(directory)
    warn_if_diverged(directory)
    if not trained_adapter(directory):
        params = _trained(folder, average)
    else:
        _, _, adapted = load_adapter(directory, average)
        kind = registry.load("adapters", adapted.name, "config.adapter.name")
        params = jax.device_get(kind.make(adapted.settings).merge(adapted.trained, adapted.frozen))
    _check(folder, params, _abstract(*_whole_model(directory, content, family, config)))
    return family, config, params


def trained_adapter(directory: Path) -> bool:
    """Whether a run trained an adapter in the place of all parameters. Raises UserError."""
    return _adapter_of(directory, read_config(directory))["name"] != "none"


def load_mean(directory: Path, count: int) -> tuple[str, Any, PyTree, list[int]]:
    """(family, its Config, the mean of the parameters of the `count` newest checkpoints that are
    whole, their steps). The mean is taken in float64 and has their dtypes.

    Raises UserError where the run keeps fewer, or trained an adapter.
    """
    family, config = _family_of(directory)
    if trained_adapter(directory):
        raise UserError(f"{directory} trained an adapter; checkpoints are averaged of whole models")
    folders = list(itertools.islice(commits.intact(directory / "checkpoints"), count))
    if not folders:
        commits.newest_intact(directory / "checkpoints")  # says that there is none
    if len(folders) < count:
        raise UserError(
            f"{directory} keeps {len(folders)} checkpoints that are whole, and not {count}; train "
            f"it with --config.train.keep_checkpoints={count}, or ask for fewer"
        )
    newest = _trained(folders[0], average=False)
    total = jax.tree.map(lambda leaf: leaf.astype(np.float64), newest)
    for folder in folders[1:]:
        total = jax.tree.map(np.add, total, _trained(folder, average=False))
    mean = jax.tree.map(lambda sum, leaf: (sum / count).astype(leaf.dtype), total, newest)
    return family, config, mean, [commits.step_of(folder) for folder in folders]


def load_adapter(directory: Path, average: bool = False) -> tuple[str, Any, Adapted]:
    """(family, its Config, adapter) of a run that trained one, as `load_params`.

    Raises UserError where it trained none, or where the parameters that it left as they were have
    changed.
    """
    family, config, folder = _model_of(directory)
    content, where = read_config(directory), f"{directory / 'config.json'}: config.adapter"
    section = _adapter_of(directory, content)
    if section["name"] == "none":
        raise UserError(f"{directory} trained no adapter, but all parameters; name a run that did")
    maker = registry.load("adapters", section.pop("name"), f"{where}.name")
    settings = build(maker.Config, section, where)
    initial, dtype = content["train"]["initial"], content["precision"]["parameters"]
    whole = _whole_model(directory, content, family, config)
    if initial is None:
        base = _drawn(*whole, content["seed"])
    else:
        place = carried.base_of(directory, initial)
        carried.check_base(place)
        base = load_beginning(place)[2] if section.get("continues") else load_params(place)[2]
    base = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), _below_head(base, _abstract(*whole)))
    split = maker.make(settings).split
    frozen = jax.jit(lambda base: split(jax.random.key(0), base)[1])(base)
    if commits.read_record(folder, verified=False).extra.get("base", "") != hash_of(frozen):
        given = "its seed" if initial is None else initial
        raise UserError(
            f"{directory}: its adapter was trained on other parameters than {given} gives now"
        )
    return (
        family,
        config,
        Adapted(content["adapter"]["name"], settings, _trained(folder, average), frozen),
    )


def _trained(folder: Path, average: bool) -> PyTree:
    """The trained parameters in a checkpoint, or their moving average cast to the same dtypes."""
    params = arrays.read_subtree(folder, "params")
    if not average:
        return params
    saved = commits.read_record(folder, verified=False).arrays
    if not any(name.startswith(f"slots.{AVERAGE}.") for name in saved):
        raise UserError(
            f"{folder} keeps no average of parameters; train the run with "
            "--config.train.average_decay, or leave out --average"
        )
    return like(arrays.read_subtree(folder, "slots")[AVERAGE], params)


def load_beginning(directory: Path) -> tuple[str, Any, PyTree, Adapted]:
    """(family, its Config, frozen parameters, adapter) for a run that continues the low-rank
    adapter of another run. Raises UserError, also where that trained another adapter.
    """
    family, config, adapted = load_adapter(directory)
    if adapted.name != "lora":
        raise UserError(
            f"{directory} trained no low-rank adapter, but by {adapted.name!r}; leave out "
            "adapter.continues"
        )
    return family, config, union(adapted.frozen, adapted.trained.get("params", {})), adapted


def _model_of(directory: Path) -> tuple[str, Any, Path]:
    """(family, its Config, newest checkpoint) of a run."""
    return *_family_of(directory), commits.newest_intact(directory / "checkpoints")


def _family_of(directory: Path) -> tuple[str, Any]:
    """(family, its Config) of a run."""
    content = read_config(directory)
    refuse_foreign(directory, content)
    section = content.get("model")
    where = f"{directory / 'config.json'}: config.model"
    if not isinstance(section, dict) or not isinstance(section.get("family"), str):
        raise UserError(f"{where}.family is missing; name the directory of a run")
    family = section["family"]
    module = registry.load("models", family, f"{where}.family")
    config = build(
        module.Config, {name: value for name, value in section.items() if name != "family"}, where
    )
    return family, config


def _adapter_of(directory: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The adapter section; runs of early releases have none."""
    section = content.get("adapter", {"name": "none"})
    if not isinstance(section, dict) or not isinstance(section.get("name"), str):
        raise UserError(
            f"{directory / 'config.json'}: config.adapter.name is missing; {NAME_A_RUN}"
        )
    return dict(section)


def _drawn(model: Any, inputs: Inputs, seed: int) -> PyTree:
    """The initial parameters of a run with this seed."""
    return jax.jit(lambda: unbox(model.init(jax.random.key(jnp.uint32(seed)), inputs)["params"]))()


def _short(family: str, config: Any) -> tuple[Any, Inputs]:
    """A model of the family, and the shortest inputs that it takes."""
    contract = registry.load("models", family, "config.model.family")
    tokens = jnp.zeros((1, 2), jnp.int32)
    context = tokens if contract.needs_context else None
    return contract.Model(config), Inputs(tokens, context=context)


def hash_of(frozen: PyTree) -> str:
    """SHA-256 of names, dtypes, shapes and bits of parameters; "" where there are none."""
    digest, leaves = hashlib.sha256(), jax.tree_util.tree_leaves_with_path(jax.device_get(frozen))
    for path, leaf in leaves:
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}\n".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest() if leaves else ""


def read_config(directory: Path) -> dict[str, Any]:
    """The plain values of a run's config.json. Raises UserError, also where they name code that is
    not trusted.
    """
    values = read_config_file(directory / "config.json")[1]
    trust.check(values, directory / "config.json")
    return values


def read_run(directory: Path, moved: Mapping[str, Any] = NOT_MOVED) -> dict[str, Any]:
    """The plain values of the config.json of a run that can read text, files by their paths;
    `moved` says by dotted key where its text lies now.

    Raises UserError for a directory with a model and no run, and for other keys.
    """
    content = carried.anchored(directory, read_config(directory))
    refuse_foreign(directory, content)
    if "model" in content and "objective" not in content:
        raise UserError(
            f"{directory} holds a model alone, without a tokenizer that we read; train from it, by "
            f"--config.train.initial={directory}"
        )
    content = located(content, moved)
    check_learnt(directory, content)
    return content


def located(content: Mapping[str, Any], moved: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose text lies elsewhere: with these values, by dotted key. Raises UserError for a
    key that says anything else.
    """
    values = copy.deepcopy(dict(content))
    keys = sorted(key for key in key_table(values).files if SOURCES.match(key)) if moved else []
    for key, path in moved.items():
        if key not in keys:
            raise UserError(
                f"config.{key} is that of the run; only where its text lies may be said: "
                + ", ".join(f"--config.{each}" for each in keys)
            )
        *sections, name = key.split(".")
        section = values
        for each in sections:
            section = section[each]
        section[name] = path
    return values


def check_learnt(directory: Path, content: Mapping[str, Any]) -> None:
    """Raises UserError where the run does not keep what its tokenizer learnt and the text has
    changed: learning again would give another tokenizer.
    """
    if not isinstance(content.get("data"), Mapping):
        return  # the error is raised where it is read
    data = build(loader.Config, content["data"], f"{directory / 'config.json'}: config.data")
    if data.vocabulary_file is not None or Text(data).learnt_file is None:
        return
    text = trained_on.text_of(directory)
    if text is not None and text != Text(data).dataset.identity:
        raise UserError(
            f"{directory}: its tokenizer learnt from other text than config.data gives now, and "
            f"{carried.TOKENIZER}/{carried.LEARNT} is not there; put that back, or the text"
        )


def refuse_foreign(directory: Path, content: Mapping[str, Any]) -> None:
    """Raises UserError where the config.json is one of transformers."""
    if "architectures" in content:
        raise UserError(
            f"{directory} has a model of transformers; make it a run's directory first: lm-lab "
            "convert "
            f"--from={directory} --to=FOLDER"
        )


def is_alone(directory: Path) -> bool:
    """Whether the newest whole checkpoint was written by `write_params`: parameters without a
    run.
    """
    newest = commits.newest_intact(directory / "checkpoints")
    return not commits.read_record(newest, verified=False).spec_hash


@functools.cache
def boxed_params(family: str, config: Any) -> PyTree:
    """Shapes, dtypes, logical axes and roles of a family's parameters; cached, so not to be
    changed.
    """
    model, inputs = _short(family, config)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), inputs)["params"])


def abstract_params(family: str, config: Any) -> PyTree:
    """Shapes and dtypes of a family's parameters."""
    return unbox(boxed_params(family, config))


def _abstract(model: Any, inputs: Inputs) -> PyTree:
    """Shapes and dtypes of the parameters of a model."""
    return unbox(jax.eval_shape(lambda: model.init(jax.random.key(0), inputs)["params"]))


def _whole_model(
    directory: Path, content: Mapping[str, Any], family: str, config: Any
) -> tuple[Any, Inputs]:
    """The model of a run, with the head that its objective asks for, and the shortest inputs that
    it takes.
    """
    model, inputs = _short(family, config)
    section = dict(content.get("objective") or {})  # a model alone has none
    if not section:
        return model, inputs
    where = f"{directory / 'config.json'}: config.objective"
    kind = registry.load("objectives", section.pop("name", ""), where)
    if kind.head is None:
        return model, inputs
    return Pooled(model, *kind.head(build(kind.Config, section, where))), inputs


def _below_head(base: PyTree, wanted: PyTree) -> PyTree:
    """The parameters of a base in a model that puts a head on it, with zeros for modules that the
    base lacks: an adapter trains them, or it would have been refused. Those of any other model as
    they are.
    """
    if "model" not in wanted:
        return base
    given = base if "model" in base else {"model": base}
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), wanted)
    whole = {name: given.get(name, zeros[name]) for name in wanted}
    inner = {name: whole["model"].get(name, new) for name, new in zeros["model"].items()}
    return whole | {"model": inner}


def write_params(
    directory: Path, params: PyTree, base: PyTree = (), text: str | None = None
) -> None:
    """Writes the one checkpoint of a directory for a model, or for an adapter trained on the
    parameters `base`, beside its config.json; `text` names what it was trained on, as
    `trained_on.text_of`. Raises UserError where it cannot be written.
    """
    folder = directory.absolute() / "checkpoints"
    folder.mkdir()
    state = {"params": params}
    extra = {"base": hash_of(base)} | ({} if text is None else {"text": text})
    record = commits.Record(0, "", None, extra, arrays.describe(state))
    commits.commit(folder, state, record, keep=1)
    (folder / commits.TRASH).rmdir()


def _check(folder: Path, params: PyTree, abstract: PyTree) -> None:
    stored, wanted = (
        {
            jax.tree_util.keystr(path, simple=True, separator="."): list(leaf.shape)
            for path, leaf in leaves
        }
        for leaves in map(jax.tree_util.tree_leaves_with_path, (params, abstract))
    )
    for name in sorted(stored.keys() | wanted.keys()):
        saved, asked = stored.get(name, "absent"), wanted.get(name, "absent")
        if saved != asked:
            raise UserError(
                f"{folder}: parameter {name} is {saved} there and {asked} by config.json"
            )
