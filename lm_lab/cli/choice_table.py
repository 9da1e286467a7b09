"""The keys of choices that no config makes, of a study or of a launch, as tables of text."""

import sys
from typing import NamedTuple

from lm_lab import registry
from lm_lab.cli.key_table import Entry, entries_of, first_sentence, heading
from lm_lab.contracts import Executor
from lm_lab.report.contract import Analysis
from lm_lab.schema import is_outside
from lm_lab.sweeps.search import Searcher


class Choice(NamedTuple):
    """A choice of a module by its name."""

    about: str
    kind: str  # the package of its modules, below lm_lab
    attribute: str  # the value in which each ends
    contract: type
    prefix: str  # of its keys, as they are given


CHOICES = {
    "analysis": Choice(
        'of a study: analysis={"kind": NAME, KEY: VALUE}',
        *("report.analyses", "ANALYSIS", Analysis, "analysis."),
    ),
    "searcher": Choice(
        "of a study that searches: Search(..., searcher=NAME, settings={KEY: VALUE})",
        *("sweeps.searchers", "SEARCHER", Searcher, "settings."),
    ),
    "executor": Choice(
        "of lm-lab sweep: --executor=NAME --executor.KEY=VALUE",
        *("sweeps.executors", "EXECUTOR", Executor, "executor."),
    ),
}


def is_choice(name: str) -> bool:
    """Whether the name is that of a choice or of one of its options: analysis.curves."""
    return name.partition(".")[0] in CHOICES


def choice_of(name: str) -> list[Entry]:
    """The options of a choice ("analysis"), or the keys of one ("analysis.curves"). Raises
    UserError for an option that does not exist.
    """
    name, _, option = name.partition(".")
    choice = CHOICES[name]
    if not option:
        names = registry.names(choice.kind)
        return [
            heading(f"{name}, {choice.about}; lm-lab keys {name}.NAME tells what each reads"),
            *(choice_of(f"{name}.{each}")[0] for each in names),
        ]
    value = registry.load_value(choice.kind, choice.attribute, choice.contract, option, name)
    path = option.partition(":")[0] if is_outside(option) else f"lm_lab.{choice.kind}.{option}"
    about = heading(f"{name}.{option}: {first_sentence(sys.modules[path].__doc__)}")
    return [about, *entries_of(value.Config, choice.prefix)]
