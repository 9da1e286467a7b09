"""A source: folders of text in given shares, taken in turn."""

from dataclasses import dataclass

from lm_lab.contracts import Source
from lm_lab.data.documents import digest
from lm_lab.data.sources.text import SOURCE as TEXT
from lm_lab.schema import setting


@dataclass(frozen=True)
class Config:
    """The settings of the source."""

    folders: tuple[str, ...] = setting("folders of text")
    shares: tuple[int, ...] = setting("documents that each gives in its turn")


def _sources(config):
    return [TEXT.Config(folder) for folder in config.folders]


def documents(config):
    """Documents in turn, until the first folder that has too few for one more."""
    streams = [TEXT.documents(source) for source in _sources(config)]
    while True:
        turn = [
            list(_some(stream, share)) for stream, share in zip(streams, config.shares, strict=True)
        ]
        if any(len(part) < share for part, share in zip(turn, config.shares, strict=True)):
            return
        for part in turn:
            yield from part


def _some(stream, count):
    return (document for _, document in zip(range(count), stream))


def fingerprint(config):
    """Digest of all folders and of the shares."""
    return digest([str(config.shares), *map(TEXT.fingerprint, _sources(config))])


SOURCE = Source(Config, documents, fingerprint)
