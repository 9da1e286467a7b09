"""The page of commands: what `lm-lab COMMAND --help` prints, for each."""

import importlib
import re

from lm_lab.cli.main import COMMANDS, EXIT_CODES
from tools.pages.markdown import anchor, fenced, plain, table

OPENING = """# Every command

`lm-lab COMMAND --help` prints the same. Every command takes `--help`; `--trust=PACKAGE,...`,
which lets a stored run or sweep import modules of these packages; and `--verify`, which hashes
text and token stores again. `lm-lab --version` tells the release.

"""


def page() -> str:
    """The page, from the commands' own help."""
    rows = [[f"[`{name}`](#{anchor('lm-lab ' + name)})", text] for name, text in COMMANDS.items()]
    listed = table(["command", "what it does"], rows)
    codes = fenced(EXIT_CODES.partition("\n")[2])
    sections = "\n".join(map(_command, COMMANDS))
    return f"{OPENING}{listed}\n## Exit codes\n\n{codes}\n{sections}"


def _command(name: str) -> str:
    about = help_text(name)
    keys = "\n\nIt takes [every key of a config](keys.md) as `--config.KEY=VALUE`." * (
        name == "train"
    )
    return f"## lm-lab {name}\n\n{plain(COMMANDS[name]).capitalize()}.\n\n{fenced(about)}{keys}\n"


def help_text(name: str) -> str:
    """What the command prints with --help, without the keys of a config, which have a page."""
    about = importlib.import_module(f"lm_lab.cli.{name}").__doc__ or ""
    return about.partition("\nKeys, as KEY = DEFAULT:")[0]


def flags(name: str) -> list[str]:
    """The flags that a command defines, as absl knows them."""
    module = importlib.import_module(f"lm_lab.cli.{name}")
    defined = vars(module).get("FLAGS")
    return [] if defined is None else [flag for flag in defined if not re.match("help|only_", flag)]
