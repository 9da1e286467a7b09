"""lm-lab COMMAND: one file a command."""

import importlib
import logging
import os
import signal
import sys

from lm_lab.schema import suggest
from lm_lab.types import UserError

COMMANDS = {
    "train": "train one run",
    "evaluate": "evaluate a run again, and measure what it writes",
    "plan": "what a run would cost, before anything runs",
    "generate": "go on with a text, by a trained run's model",
    "convert": "make a model of transformers one of lm_lab, or the other way",
    "merge": "make one model of a run's adapter and what it was trained on",
    "sweep": "run a study and write its report",
    "report": "write a study's figures and report again, from what is stored",
}
INTERNAL = ("members",)  # what a sweep's workers run

USAGE = """lm-lab: which architecture is better, at what compute, and how does it scale?

{commands}

lm-lab COMMAND --help tells more, with an example."""


def main() -> None:
    """Runs a command. Exit codes: 0 done, 1 a run diverged or failed, 2 a mistake of the user's, 128 + a signal."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        sys.exit(dispatch(sys.argv[1:]))
    except UserError as error:
        print(f"lm-lab: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("lm-lab: interrupted; the same command goes on from what is stored", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def dispatch(argv: list[str]) -> int:
    """Runs the command that argv names; its exit code."""
    width = max(map(len, COMMANDS)) + 2
    usage = USAGE.format(commands="\n".join(f"  lm-lab {name:{width}}{text}" for name, text in COMMANDS.items()))
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(usage)
        return 0
    name, *rest = argv
    if name not in (*COMMANDS, *INTERNAL):
        raise UserError(f"no command {name!r}; {suggest(name, list(COMMANDS))}")
    command = importlib.import_module(f"lm_lab.cli.{name}")
    if "--help" in rest or "-h" in rest:
        print(command.__doc__)
        return 0
    return command.run(rest)
