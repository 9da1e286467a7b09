"""Hugging Face datasets: a name of the hub, a folder that save_to_disk wrote, a folder as the hub
has it, or its Arrow and Parquet files. Needs the extra `data` for the hub and folders of the hub.
"""

import dataclasses
import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from lm_lab.contracts import Source
from lm_lab.data import digests, formats, hub, sides
from lm_lab.data import files as reading_files
from lm_lab.data.faults import ERRORS, Decoder, Errors, fault
from lm_lab.data.fields import Fields, Maker
from lm_lab.data.formats import Format, Reading
from lm_lab.data.locating import locate
from lm_lab.schema import setting
from lm_lab.types import Document, Side, UserError

PLAIN = re.compile(r"[\w-][\w.-]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Fields):
    """Which data set, and which of its columns. Raises UserError for a stream without a limit."""

    dataset: str = setting(
        "a name of the hub, as stanfordnlp/imdb, or a folder or file here", names_file=True
    )
    subset: str | None = setting("which of its configurations; None: the only one", None)
    split: str = setting("what to train on", "train")
    heldout_split: str | None = setting("what is held out; None: a part of the other", None)
    test_split: str | None = setting("what is kept for the test at the end", None)
    revision: str = setting("of the hub: a branch, tag or commit", "main", names_file=True)
    streaming: bool = setting("of the hub: bring only `limit` rows of each split here", False)
    limit: int | None = setting(
        "documents to train on at most, from the beginning; None: all", None, low=1
    )
    errors: Errors = setting(ERRORS, "refuse")

    def __post_init__(self) -> None:
        """Checks the fields, and that a stream ends."""
        super().__post_init__()
        if self.streaming and self.limit is None:
            raise UserError("streaming needs a limit: how many documents are read of the stream")


def documents(config: Config) -> Iterator[Document]:
    """One document a row, in order. Data of the hub are downloaded at the first call.

    Raises UserError where there is no such data set here and the hub is out of reach, for an
    unknown split or column, and for damaged files.
    """
    for key, split, side in _sides(config):
        decoder, maker = Decoder(config.errors, key), Maker(config)
        reading = Reading(decoder, config.names, key)
        read = reading_files.some(_read(config, split, side, reading, maker), split, decoder)
        yield from islice(read, config.limit if key == "split" else None)
        decoder.report()
        maker.report()


def fingerprint(config: Config) -> str:
    """Of the hub: digest of name, commit, splits and fields. Of files here: also of them."""
    split_names = [(key, split) for key, split, _ in _sides(config)]
    read = [list(config.texts.items()), config.label, config.classes, config.limit]
    grouped = [] if config.group is None else [config.group]
    settings = [
        "hugging_face",
        repr([split_names, read]),
        *sides.unless_refused(config.errors),
        *grouped,
    ]
    commit = revision(config)
    if commit is not None:
        return digests.digest([*settings, repr((config.dataset, config.subset)), commit])
    named_files = [
        (f"{key}:{path.name}", path)
        for key, split, _ in _sides(config)
        for _, path in _files(config, split, key)
    ]
    return digests.of_files(named_files, *settings, key="dataset")


def revision(config: Config) -> str | None:
    """The commit of a data set of the hub; None for files here. Raises UserError."""
    if Path(config.dataset).expanduser().exists():
        return None
    return hub.commit(config.dataset, config.revision)


def _sides(config: Config) -> list[tuple[str, str, Side | None]]:
    return sides.given(config.split, config.heldout_split, config.test_split, "split")


def _files(config: Config, split: str, key: str) -> list[tuple[Format, Path]]:
    """The files of a split, each with its format."""
    root = Path(config.dataset).expanduser()
    if not root.exists():
        hub_split = hub.Split(
            config.dataset, config.subset, split, config.limit if config.streaming else None
        )
        commit = hub.commit(config.dataset, config.revision)
        return [(formats.named("arrow"), path) for path in hub.files(hub_split, commit, key)]
    if not PLAIN.fullmatch(split) or not PLAIN.fullmatch(config.subset or "-"):
        raise fault(key, f"{split!r}: of files here a split is a name; cut it with limit")
    folder = root / (config.subset or "")
    if not folder.exists():
        raise fault("subset", f"no folder {config.subset!r} in {root}; leave it out")
    if (folder / "dataset_dict.json").is_file():
        if not (folder / split).is_dir():
            names = ", ".join(sorted(path.parent.name for path in folder.glob("*/state.json")))
            raise fault(key, f"{folder} has no split {split!r}; its splits: {names}")
        folder = folder / split
    saved = (folder / "state.json").is_file()
    if saved and folder == root and key != "split":
        raise fault(key, f"{root} is one split, which save_to_disk wrote; name a folder of several")
    formats_by_name = formats.by_suffix()
    readers = {name: formats_by_name[name] for name in ("arrow", "parquet", "jsonl", "csv")}

    def takes(path: Path) -> bool:
        of_split = saved or root.is_file() or _is_of(split, path.relative_to(folder))
        return of_split and any(reader.takes(path) for reader in readers.values())

    expected = f".arrow, .parquet, .jsonl or .csv and is of the split {split!r}"
    matches = locate(key, str(folder), takes, expected).files
    return [(formats_by_name[formats.of_file(path, key)], path) for _, path in matches]


def _is_of(split: str, path: Path) -> bool:
    """Whether a file of a folder is of a split, by its name (train-00000-of-00002.parquet,
    train.jsonl) or that of a folder around it.
    """
    return any(re.match(rf"{re.escape(split)}([-._]|$)", part) for part in path.parts)


def _read(
    config: Config, split: str, side: Side | None, reading: Reading, maker: Maker
) -> Iterator[Document]:
    name = Path(config.dataset).name
    for chosen, path in _files(config, split, reading.key):
        for record in chosen.read(path, reading):
            place = f"{name}:{split}:{path.name}:{record.number}"
            document = maker.make(record.fields, place, partial(str, place), side)
            if document is not None:
                yield document


SOURCE = Source(
    Config,
    documents,
    fingerprint,
    provides=lambda config: config.form,
    revision=revision,
)
