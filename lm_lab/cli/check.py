"""lm-lab check: run the laws of its kind on a module, on tiny shapes, and say what is broken.

  lm-lab check models.decoder objectives.causal          # of lm_lab, with the kind
  lm-lab check my_research.models.gla                     # one of yours, by dotted path
  lm-lab check my_research.losses:FOCAL                   # another value of it
  lm-lab check models.decoder --settings.positions=alibi  # with settings other than the defaults
  lm-lab check data.sources.text --settings.path=README.md

Kinds are models, objectives, adapters, data.sources, data.tokenizers, optimizers, schedules and
positions. Of evaluation.metrics, evaluation.tasks, sweeps.executors and report.analyses the
contract alone is checked: whether the value has all fields, and functions that take what they are
given.

The exit code is 0 where all laws hold, 1 where one is broken, 2 where a module cannot be loaded.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from lm_lab import laws, registry
from lm_lab.cli import arguments
from lm_lab.laws import (
    Finding,
    adapters,
    models,
    objectives,
    optimizers,
    schedules,
    sources,
    tokenizers,
)
from lm_lab.nn.positions import SCHEMES, Scheme
from lm_lab.report.contract import Analysis
from lm_lab.schema import is_outside, suggest
from lm_lab.types import UserError

WHERE = "lm-lab check"
POSITIONS = "positions"
KINDS: dict[str, tuple[str, type]] = {
    **registry.KINDS,
    "report.analyses": ("ANALYSIS", Analysis),
    POSITIONS: ("POSITIONS", type(Scheme)),
}
LAWS: dict[str, Any] = {
    "models": models,
    "objectives": objectives,
    "adapters": adapters,
    "data.sources": sources,
    "data.tokenizers": tokenizers,
    "optimizers": optimizers,
    "schedules": schedules,
}


def run(argv: list[str]) -> int:
    """Prints a line for each law. Raises UserError for a module that cannot be loaded, and for
    settings that it refuses.
    """
    settings, names = arguments.take_settings(argv)
    if not names or any(name.startswith("-") for name in names):
        raise UserError("name modules, as in: lm-lab check models.decoder my_research.models.gla")
    modules = [module for name in names for module in find(name)]
    if settings and len(modules) > 1:
        raise UserError("settings are those of one module; check one at a time")
    broken = 0
    for kind, name in modules:
        print(f"{kind} {name}")
        for finding in findings(kind, name, _nested(settings)):
            broken += finding.fault is not None
            state, message = (
                ("ok", finding.statement) if finding.fault is None else _failed(finding)
            )
            print(f"  {state:7} {finding.law}: {message}", flush=True)
    return int(broken > 0)


def find(name: str) -> list[tuple[str, str]]:
    """(kind, name as in a config) of each value that an argument names; a module may have values of
    several kinds. Raises UserError where it has none.
    """
    kind, _, short = name.rpartition(".")
    if kind in KINDS and ":" not in short:
        choices = list(SCHEMES) if kind == POSITIONS else registry.names(kind)
        if short in choices:
            return [(kind, short)]
        if importlib.util.find_spec(name.partition(".")[0]) is None:  # no package of the user's
            raise UserError(f"{WHERE}: no {kind} named {short!r}; {suggest(short, choices)}")
    if named := next((each for each in KINDS if name.startswith(f"{each}.")), None):
        own = name.removeprefix(f"{named}.")  # a package of the user's may be called like a kind
        if is_outside(own) and importlib.util.find_spec(name.partition(".")[0]) is None:
            raise UserError(f"{WHERE}: {name!r}: leave out the kind, as in lm-lab check {own}")
    if not is_outside(name):
        raise UserError(f"{WHERE}: say the kind too, as in models.decoder, not {name!r}")
    kinds = registry.kinds_of(name, WHERE, KINDS)
    if not kinds:
        values = ", ".join(value for value, _ in KINDS.values())
        raise UserError(f"{WHERE}: {name!r} has none of {values}; end it in the value of its kind")
    return [(kind_found, name) for kind_found in kinds]


def findings(kind: str, name: str, settings: Mapping[str, Any]) -> Iterator[Finding]:
    """A finding for each law of the kind that applies. Raises UserError as `run`."""
    if kind == POSITIONS:
        family = registry.load("models", "decoder", WHERE)
        chosen = {"positions": {"name": name, **settings}}
        yield from _run(models, models.subject(family, chosen))
        return
    value = registry.load_value(kind, *KINDS[kind], name, WHERE)
    statement = f"It is {_article(type(value).__name__)}, and takes what it is given"
    yield Finding("contract", statement, None)
    if kind in LAWS:
        yield from _run(LAWS[kind], LAWS[kind].subject(value, settings))


def _run(module: Any, subject: Any) -> Iterator[Finding]:
    return laws.check(module.laws(subject), subject)


def _failed(finding: Finding) -> tuple[str, str]:
    return "FAILED", finding.fault or ""


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


def _nested(given: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested dicts; where "x" and "x.y" are both given, the value of "x" becomes
    "x.name".
    """
    nested: dict[str, Any] = {}
    for key, value in sorted(given.items()):
        *above, last = key.split(".")
        node = nested
        for part in above:
            inner = node.setdefault(part, {})
            if not isinstance(inner, dict):
                inner = node[part] = {"name": inner}
            node = inner
        node[last] = value
    return nested
