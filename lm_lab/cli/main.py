"""The program lm-lab COMMAND; each command is one file of this package."""

import contextlib
import importlib
import importlib.metadata
import logging
import os
import sys

from lm_lab.train.preemption import Signals, Stopped, exit_code, leave

COMMANDS = {
    "demo": "run the demo study: small decoders, a scaling law, a report",
    "train": "train one run",
    "evaluate": "evaluate a run again, or the likelihood of any text",
    "plan": "count what a run would cost, and what a study would tell, before it runs",
    "tokenize": "train a tokenizer, tokenize a text, and say what came of it",
    "generate": "continue a text with a run's model",
    "convert": "convert a model from or to transformers",
    "merge": "merge a run's adapter into its base model, or checkpoints into their mean",
    "sweep": "run a study and write its report",
    "fit": "fit scaling laws to any table of runs",
    "report": "write a study's report again, from its stored results",
    "status": "show how far a sweep is",
    "query": "ask SQL of the runs of sweeps",
    "forecasts": "count how many registered forecasts of held-out runs held",
    "data": "list and fetch the published data sets that configs read",
    "check": "run the laws of its kind on a module of lm_lab's or of yours",
    "keys": "list every key of a config, with its default, meaning and range",
}
# commands that begin anew each time
READS = {"plan", "generate", "fit", "status", "query", "forecasts", "check", "keys"}
INTERNAL = ("members", "count")  # run by the launches of sweeps

USAGE = """lm-lab: which architecture is better, at what compute, and how does it scale?

{commands}

lm-lab COMMAND --help tells more, with an example. lm-lab --version tells the release.

A run's or sweep's folder may come from others: modules outside lm_lab that its files name are
imported, and so run, only with --trust=PACKAGE,..., which every command takes. A config file or a
study that you launch is trusted.

Text and token stores whose files have not changed since they were last hashed are not hashed again;
--verify, which every command takes, hashes all of them.

{exit_codes}"""

EXIT_CODES = """Exit codes:
    0   done
    1   the run diverged or failed; of a sweep: a run failed or is in use elsewhere
    2   wrong input: one line says what to change
   75   resume me: pre-empted by SIGTERM or SIGUSR1, or a run hung and ended itself; the same
        command goes on
  130   stopped by Ctrl-C, 129 by SIGHUP (a closed terminal); the same command goes on"""


def main() -> None:
    """Runs a command, and ends with its exit code (EXIT_CODES)."""
    try:
        stores = READS.isdisjoint(sys.argv[1:2])
        with Signals("leave", stores=stores):  # before the other imports, which take seconds
            _main()
    except Stopped as stop:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        leave(exit_code(stop.signal), str(stop))


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
    """Shows an error that nothing can catch, except those of
    tensorstore's threads after a failed save.

    There may be hundreds of those, and the error of the save itself is enough.
    """
    if str(error.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(error)


def dispatch(argv: list[str]) -> int:
    """Runs the command that argv names; returns its exit code."""
    if not argv or argv[0] in ("--help", "-h", "help"):
        width = max(map(len, COMMANDS)) + 2
        commands = "\n".join(f"  lm-lab {name:{width}}{text}" for name, text in COMMANDS.items())
        print(USAGE.format(commands=commands, exit_codes=EXIT_CODES))
        return 0
    if argv == ["--version"]:
        print(f"lm_lab {importlib.metadata.version('lm_lab')}")
        return 0
    from lm_lab.cli import arguments
    from lm_lab.runs.trust import trusting
    from lm_lab.schema import suggest
    from lm_lab.types import UserError

    name, *rest = argv
    if name not in (*COMMANDS, *INTERNAL):
        raise UserError(f"no command {name!r}; {suggest(name, list(COMMANDS))}")
    command = importlib.import_module(f"lm_lab.cli.{name}")
    if "--help" in rest or "-h" in rest:
        print(command.__doc__)
        return 0
    packages, rest = arguments.take_trust(rest)
    if "--verify" in rest:
        os.environ["LM_LAB_VERIFY"] = "1"  # for workers too
        rest = [word for word in rest if word != "--verify"]
    with trusting(packages):
        return command.run(rest)
