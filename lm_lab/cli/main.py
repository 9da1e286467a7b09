"""lm-lab COMMAND: one file a command."""

import contextlib
import importlib
import logging
import os
import sys

from lm_lab.train.preemption import Signals, Stopped, leave

COMMANDS = {
    "train": "train one run",
    "evaluate": "evaluate a run again, and measure what it writes; or judge any text",
    "plan": "what a run would cost, before anything runs",
    "generate": "go on with a text, by a trained run's model",
    "convert": "make a model of transformers one of lm_lab, or the other way",
    "merge": "make one model of a run's adapter and what it was trained on",
    "sweep": "run a study and write its report",
    "report": "write a study's figures and report again, from what is stored",
    "keys": "every key of a config, with its type, default, range and meaning",
}
INTERNAL = ("members",)  # what a sweep's workers run

USAGE = """lm-lab: which architecture is better, at what compute, and how does it scale?

{commands}

lm-lab COMMAND --help tells more, with an example.

A run's or sweep's folder may come from others: what its files name outside lm_lab is imported, and so run, only with
--trust=PACKAGE,..., which every command takes. A config file or a study that you launch is trusted as it is.

{exit_codes}"""

EXIT_CODES = """Exit codes:
    0   done
    1   a run diverged or failed, or is in use elsewhere
    2   a mistake of the user's, in one line
   75   a run hung and ended itself: the same command goes on from the newest checkpoint
  128 + a signal's number (143 SIGTERM, 130 Ctrl-C, 129 SIGHUP)
       told to stop: saved, where a step had been done, and the same command goes on"""


def main() -> None:
    """Runs a command, and ends with its exit code (EXIT_CODES)."""
    try:
        with Signals("leave"):  # before the imports of the rest, which take seconds
            _main()
    except Stopped as stop:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        leave(128 + stop.signal, str(stop))


def _main() -> None:
    from lm_lab.types import UserError

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    sys.unraisablehook = _tell
    try:
        sys.exit(dispatch(sys.argv[1:]))
    except UserError as error:
        print(f"lm-lab: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _tell(error: "sys.UnraisableHookArgs") -> None:
    """Shows an error that nobody can catch, but for those of tensorstore's threads whose save has failed already: they
    may be hundreds, and the save's own error says what matters."""
    if str(error.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(error)


def dispatch(argv: list[str]) -> int:
    """Runs the command that argv names; its exit code."""
    if not argv or argv[0] in ("--help", "-h", "help"):
        width = max(map(len, COMMANDS)) + 2
        commands = "\n".join(f"  lm-lab {name:{width}}{text}" for name, text in COMMANDS.items())
        print(USAGE.format(commands=commands, exit_codes=EXIT_CODES))
        return 0
    from lm_lab.cli import arguments
    from lm_lab.schema import suggest
    from lm_lab.train.trust import trusting
    from lm_lab.types import UserError

    name, *rest = argv
    if name not in (*COMMANDS, *INTERNAL):
        raise UserError(f"no command {name!r}; {suggest(name, list(COMMANDS))}")
    command = importlib.import_module(f"lm_lab.cli.{name}")
    if "--help" in rest or "-h" in rest:
        print(command.__doc__)
        return 0
    packages, rest = arguments.take_trust(rest)
    with trusting(packages):
        return command.run(rest)
