"""Copies of files that a run's directory keeps, so that the run can be moved and exported.

    tokenizer/    the files of its tokenizer, and `learnt`, what a tokenizer learnt from the text
    foreign/      config.json and generation_config.json of the transformers model it was made from

config.json names the tokenizer's files relative to the directory.
"""

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lm_lab.data.text import Text
from lm_lab.runs.durable import explained, new_folder
from lm_lab.runs.reading import read_object, sha256_of
from lm_lab.train.experiment import Experiment
from lm_lab.train.sections import flat
from lm_lab.types import UserError

TOKENIZER, FOREIGN, LEARNT = "tokenizer", "foreign", "learnt"
ENDING = "_file"  # settings of the data section that name a file of the tokenizer end in this
VOCABULARY = "vocabulary_file"

# The files of a tokenizer in a folder of transformers, and the settings and chat templates beside
# them.
NAMES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "target.spm",
    "target_vocab.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates",
)
SETTINGS = ("config.json", "generation_config.json")


def files_in(folder: Path, names: Iterable[str] = NAMES) -> list[Path]:
    """The files of these names that are in a folder."""
    return [folder / name for name in names if (folder / name).exists()]


def copy(paths: Iterable[Path], folder: Path) -> None:
    """Copies files and folders into a folder, made only if there are any. Raises OSError."""
    for path in paths:
        folder.mkdir(exist_ok=True)
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, folder / path.name)


def relative(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the paths of the tokenizer's files replaced by those of the copies in the
    run's directory, relative to it.
    """
    if "data" not in resolved:
        return dict(resolved)

    def kept(key: str, value: Any) -> Any:
        if not key.endswith(ENDING) or value is None:
            return value
        return f"{TOKENIZER}/{LEARNT if key == VOCABULARY else Path(value).name}"

    return {**resolved, "data": _with_files(kept, resolved["data"])}


def _with_files(change: Callable[[str, Any], Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The data section with `change(key, value)` applied to its values and those of its
    tokenizer.
    """
    values = {key: change(key, value) for key, value in data.items()}
    if isinstance(settings := data.get(TOKENIZER), Mapping):
        values[TOKENIZER] = {key: change(key, value) for key, value in settings.items()}
    return values


def anchored(directory: Path, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a run's config.json with paths that lead to files.

    Relative names, and paths that do not exist here, are replaced by those of the copies that the
    directory keeps. The run in `train.initial` is looked for in and beside the directory too.
    """
    values = dict(stored)
    if isinstance(data := values.get("data"), Mapping):
        values["data"] = _with_files(partial(_located, directory), data)
        learnt = directory / TOKENIZER / LEARNT
        if values["data"].get(VOCABULARY) is None and learnt.exists():
            values["data"][VOCABULARY] = str(learnt)
    if isinstance(train := values.get("train"), Mapping) and isinstance(train.get("initial"), str):
        values["train"] = {**train, "initial": str(base_of(directory, train["initial"]))}
    return values


def _located(directory: Path, key: str, value: Any) -> Any:
    if not key.endswith(ENDING) or not isinstance(value, str):
        return value
    places = (
        directory / value,
        Path(value),
        directory / TOKENIZER / Path(value).name,
        directory / Path(value).name,
    )
    return str(next((place for place in places if place.is_file()), value))


def base_of(directory: Path, initial: str) -> Path:
    """The path of the run that `train.initial` names: as it stands, or else in the directory or
    beside it.
    """
    place = Path(initial).expanduser()
    places = (place, directory / place.name, directory.absolute().parent / place.name)
    return next((each for each in places if each.exists()), place)


def check_base(directory: Path) -> None:
    """Raises UserError where the run that config.train.initial names is not there."""
    if not directory.exists():
        raise UserError(
            f"config.train.initial: {directory}: no such folder (from {Path.cwd()}); name the "
            "directory of a run, or put it there, or beside the run that began with it"
        )


def check(directory: Path, experiment: Experiment) -> None:
    """Raises UserError where the directory keeps copies of another tokenizer than the
    experiment's.
    """
    for key, path in _files(experiment).items():
        kept = directory / TOKENIZER / path.name
        if kept.exists() and sha256_of(kept) != sha256_of(path):
            raise UserError(
                f"config.data.tokenizer.{key}: {path} is not the tokenizer that the run began "
                f"with, {kept}; name that one, or choose another directory"
            )


def keep(directory: Path, experiment: Experiment, text: Text) -> None:
    """Copies the files of the run's tokenizer and of the model it was converted from into its
    directory, all or none. Raises UserError naming the path.
    """
    learnt = {} if text.learnt_file is None else {LEARNT: text.learnt_file}
    files = _files(experiment)
    names = [path.name for path in files.values()]
    if len(set(names)) < len(names):
        raise UserError(
            f"the files of config.data's tokenizer need names of their own, and two are {names[0]}"
        )
    beside = [
        path for folder in {path.parent for path in files.values()} for path in files_in(folder)
    ]
    _whole(
        directory / TOKENIZER,
        {path.name: path for path in [*beside, *files.values()]} | learnt,
    )
    if experiment.train.initial is not None:
        kept = files_in(Path(experiment.train.initial) / FOREIGN, SETTINGS)
        _whole(directory / FOREIGN, {path.name: path for path in kept})


def ends(directory: Path) -> list[int]:
    """The end-of-text ids of the transformers model that the run was converted from; [] if there is
    none.

    As in transformers, generation_config.json takes precedence over config.json. Raises UserError
    for a file that is no JSON object.
    """
    for path in reversed(files_in(directory / FOREIGN, SETTINGS)):
        ids = read_object(path, "mend it, or leave it out").get("eos_token_id")
        if ids is not None:
            listed = ids if isinstance(ids, list) else [ids]
            return [number for number in listed if type(number) is int]
    return []


def hand_on(source: Path, target: Path, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Copies the files that a run's directory keeps into another directory for the same model.

    Returns the values of config.json with paths relative to the target. Raises UserError naming the
    path.
    """
    values = anchored(source, stored)
    files = flat(values.get("data", {})).items()
    named = [Path(path) for key, path in files if key.endswith(ENDING) and path is not None]
    beside = [
        path
        for folder in {source / TOKENIZER, *(p.parent for p in named)}
        for path in files_in(folder)
    ]
    _whole(target / TOKENIZER, {path.name: path for path in [*beside, *named]})
    _whole(target / FOREIGN, {path.name: path for path in files_in(source / FOREIGN, SETTINGS)})
    return relative(values)


def _files(experiment: Experiment) -> dict[str, Path]:
    """The paths that settings of the tokenizer name, by setting."""
    settings = experiment.data.tokenizer.settings
    fields = [f.name for f in dataclasses.fields(settings) if f.metadata.get("names_file")]
    named = {name: getattr(settings, name) for name in fields}
    return {name: Path(path).expanduser() for name, path in named.items() if path is not None}


def _whole(folder: Path, files: Mapping[str, Path]) -> None:
    """Writes a folder with copies of the files, durably; an existing folder is kept."""
    if not files or folder.exists():
        return
    place = folder.with_name(f".{folder.name}.tmp")
    with explained(folder, "write"), new_folder(folder, place) as draft:
        draft.mkdir()
        for name, path in files.items():
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, draft / name)
