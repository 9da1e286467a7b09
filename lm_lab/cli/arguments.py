"""Command lines: absl flags, a config file, and overrides of its keys."""

import ast
import re
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from lm_lab import config as configs
from lm_lab.types import UserError
from lm_lab.values import is_text


def parse(flag_values: flags.FlagValues, argv: list[str], command: str) -> list[str]:
    """Parses absl flags anew; returns the positional arguments.

    Raises UserError, also for a flag given twice.
    """
    flag_values.unparse_flags()
    try:
        return flag_values(["lm-lab", *argv], known_only=False)[1:]
    except flags.Error as error:
        words = re.sub("could not convert string to float.*", "give a number, as 80e9", str(error))
        raise UserError(f"{words}; see lm-lab {command} --help") from None


def folder(value: str | None, example: str) -> Path:
    """The folder that --workdir names. Raises UserError if it is missing."""
    if not value:
        raise UserError(f"--workdir=DIR is missing, as in --workdir={example}")
    return path(value, "--workdir=")


def path(value: str, flag: str = "") -> Path:
    """The path that an argument names. Raises UserError, which begins
    with the flag, for a bad one.
    """
    if not is_text(value):
        raise UserError(
            f"{flag}{value!a} is no path: it has NUL, or bytes that are no UTF-8; give another"
        )
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise UserError(
            f"{flag}{value}: nobody has that home directory; give another path"
        ) from None


def take_trust(argv: list[str]) -> tuple[list[str], list[str]]:
    """(the packages that --trust=PACKAGE,... names, the other
    arguments). Every command takes it.
    """
    ours = [word for word in argv if re.match("--?trust(=|$)", word)]
    if len(ours) > 1 or "--trust" in ours or "-trust" in ours:
        raise UserError("give --trust=PACKAGE,... once, as in --trust=my_research")
    packages = [name for word in ours for name in word.partition("=")[2].split(",") if name]
    return packages, [word for word in argv if word not in ours]


def take_config(argv: list[str]) -> tuple[ConfigDict, list[str]]:
    """(the config of --config=FILE with every
    --config.section.key=value applied, other arguments).
    """
    texts, others = _split(argv, "config")
    if not texts.get(""):
        raise UserError("--config=FILE is missing, as in --config=configs/decoder_tiny.py")
    config = configs.load(texts.pop(""))
    return configs.override(config, {key: literal(text) for key, text in texts.items()}), others


def take_executor(argv: list[str]) -> tuple[str, dict[str, Any], list[str]]:
    """(the executor of --executor=NAME, its settings from --executor.key=value, other arguments).

    Raises UserError for one given twice.
    """
    settings, others = take_module(argv, "executor")
    return settings.pop("name", "local"), settings, others


def take_module(argv: list[str], section: str) -> tuple[dict[str, Any], list[str]]:
    """({"name": NAME, key: value, ...} of --SECTION=NAME and --SECTION.key=value, other arguments).

    Raises UserError for one given twice.
    """
    texts, others = _split(argv, section)
    named = {"name": texts.pop("")} if "" in texts else {}
    return named | {key: literal(text) for key, text in texts.items()}, others


def take_moved(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """(dotted key -> path of every --config.data...=PATH, other arguments), of a command that reads
    the config of a run. Raises UserError for another config.
    """
    texts, others = _split(argv, "config")
    if "" in texts:
        raise UserError("--config is the run's own here; leave it out")
    return texts, others


def take_settings(argv: list[str]) -> tuple[dict[str, Any], list[str]]:
    """(dotted key -> value of every --settings.key=value, other arguments)."""
    texts, others = _split(argv, "settings")
    return {key: literal(text) for key, text in texts.items()}, others


def _split(argv: list[str], section: str) -> tuple[dict[str, str], list[str]]:
    """(dotted key -> text, other arguments) of --section.key=text;
    --section itself has the key "".
    """
    texts: dict[str, str] = {}
    others = []
    pending = list(reversed(argv))
    while pending:
        argument = pending.pop()
        name, equals, text = argument.partition("=")
        name = name.replace("--", "-", 1)
        if name != f"-{section}" and not name.startswith(f"-{section}."):
            others.append(argument)
            continue
        key = name.removeprefix(f"-{section}").removeprefix(".")
        if key in texts:
            raise UserError(f"-{name} is given twice; give it once")
        if not equals and pending and not pending[-1].startswith("--"):
            text = pending.pop()
        elif not equals and key:
            text = "True"
        texts[key] = text
    return texts, others


def literal(text: str) -> Any:
    """The value of a text that is a Python literal; else the text itself."""
    try:
        return ast.literal_eval(text)
    except (
        ValueError,
        SyntaxError,
        TypeError,
        MemoryError,
        RecursionError,
    ):  # as literal_eval documents
        return text
