"""A source: documents of two others, in turn and in given shares."""

from dataclasses import dataclass
from itertools import islice

from lm_lab import registry
from lm_lab.contracts import Source
from lm_lab.data.documents import digest
from lm_lab.schema import Chosen, module, setting

KIND = "data.sources"


@dataclass(frozen=True)
class Config:
    """The settings of the source, and of those that it takes documents from."""

    first: Chosen = module("one source", registry.modules(KIND), "stdlib")
    second: Chosen = module("another source", registry.modules(KIND), "stdlib")
    share: int = setting("documents of the first for each of the second", 1, low=1)


def _loaded(config):
    return [
        (registry.load(KIND, chosen.name, f"config.data.source.{key}"), chosen.settings)
        for key, chosen in (("first", config.first), ("second", config.second))
    ]


def documents(config):
    """`share` documents of the first, then one of the second, until one of the two is empty."""
    first, second = (source.documents(settings) for source, settings in _loaded(config))
    while len(turn := [*islice(first, config.share), *islice(second, 1)]) == config.share + 1:
        yield from turn


def fingerprint(config):
    """Digest of both texts, and of the share."""
    prints = [source.fingerprint(settings) for source, settings in _loaded(config)]
    return digest([str(config.share), *prints])


SOURCE = Source(Config, documents, fingerprint)
