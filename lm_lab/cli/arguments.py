"""Command lines: absl flags, a config file, and overrides of its keys."""

import ast
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from lm_lab import config as configs
from lm_lab.types import UserError


def parse(flag_values: flags.FlagValues, argv: list[str]) -> list[str]:
    """Parses absl flags; the positional arguments that are left. Raises UserError."""
    try:
        return flag_values(["lm-lab", *argv], known_only=False)[1:]
    except flags.Error as error:
        raise UserError(str(error).replace("\n", " ")) from None


def take_config(argv: list[str]) -> tuple[ConfigDict, list[str]]:
    """The config that --config=FILE names, with every --config.section.key=value applied, and the other arguments.

    Values are Python literals, or else text. Raises UserError for a missing file or a key given twice.
    """
    given, rest = _split(argv)
    if "" not in given:
        raise UserError("--config=FILE is missing, as in --config=configs/decoder_tiny.py")
    config = configs.load(given.pop(""))
    return configs.override(config, {key: _literal(text) for key, text in given.items()}), rest


def _split(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """(dotted key -> text, the rest); the file itself stands under the empty key."""
    given: dict[str, str] = {}
    rest = []
    words = iter(argv)
    for word in words:
        name, equals, text = word.partition("=")
        name = name.replace("--", "-", 1)
        if name != "-config" and not name.startswith("-config."):
            rest.append(word)
            continue
        key = name.removeprefix("-config").removeprefix(".")
        if key in given:
            raise UserError(f"-{name} is given twice; give it once")
        given[key] = text if equals else next(words, "") if not key else "True"
    return given, rest


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
