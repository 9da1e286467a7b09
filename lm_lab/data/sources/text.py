"""Text files: every file is a document."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from lm_lab.contracts import Source
from lm_lab.data import digests, files, sides
from lm_lab.data.faults import ERRORS, Decoder, Errors
from lm_lab.schema import setting
from lm_lab.types import Document, Side


@dataclasses.dataclass(frozen=True)
class Config:
    """Which files to read."""

    path: str = setting(
        "a UTF-8 text file, or a folder that is read with all folders below it", names_file=True
    )
    suffix: str = setting("in a folder, read the files whose names end so", ".txt")
    heldout_path: str | None = setting(
        "the held-out text, likewise; None: a part of the other", None, names_file=True
    )
    test_path: str | None = setting(
        "text that is kept for the test at the end, likewise", None, names_file=True
    )
    errors: Errors = setting(ERRORS, "refuse")


def documents(config: Config) -> Iterator[Document]:
    """The files in order of names, without empty ones. Raises UserError for one that is not UTF-8,
    unless `errors` says otherwise.
    """
    for key, path, split in _sides(config):
        decoder = Decoder(config.errors, key)
        named_files = files.find(path, (config.suffix,), key)
        yield from files.some(_read(named_files, decoder, split), path, decoder)
        decoder.report()


def fingerprint(config: Config) -> str:
    """Digest of the names and contents of all files."""
    files_by_key = {key: files.find(path, (config.suffix,), key) for key, path, _ in _sides(config)}
    return digests.of_sides(files_by_key, config.errors, "text")


def _sides(config: Config) -> list[tuple[str, str, Side | None]]:
    return sides.given(config.path, config.heldout_path, config.test_path)


def _read(
    named_files: list[tuple[str, Path]], decoder: Decoder, split: Side | None
) -> Iterator[Document]:
    for name, path in named_files:
        text = decoder.decode(files.read_bytes(path, decoder.key), str(path))
        if text:
            yield Document(name, text, split=split)


SOURCE = Source(Config, documents, fingerprint)
