"""TensorFlow Datasets that are prepared as ArrayRecord, read at random and without TensorFlow;
nothing is ever downloaded.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from lm_lab.contracts import Source
from lm_lab.data import digests, files, sides
from lm_lab.data.faults import ERRORS, Decoder, Errors, fault
from lm_lab.data.fields import Fields, Maker
from lm_lab.schema import setting
from lm_lab.types import Document, Side

NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>\d+\.\d+\.\d+))?")
FEATURES, INFO = "features.json", "dataset_info.json"
ROWS = 256  # read at a time


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Fields):
    """Which data set, and which of its features."""

    dataset: str = setting("as lm1b, wiki40b/ko or glue/sst2:2.0.0, by default the newest version")
    split: str = setting("what to train on, as train or train[:10%]", "train")
    heldout_split: str | None = setting("what is held out; None: a part of the other", None)
    test_split: str | None = setting("what is kept for the test at the end", None)
    data_dir: str | None = setting(
        "the folder of prepared sets; None: TFDS_DATA_DIR, or ~/tensorflow_datasets",
        None,
        names_file=True,
    )
    errors: Errors = setting(ERRORS, "refuse")
    limit: int | None = setting(
        "documents to train on at most, from the beginning; None: all", None, low=1
    )


def documents(config: Config) -> Iterator[Document]:
    """One document an example, in the order of the files. Raises UserError, with the command that
    prepares it, for a set that is not prepared; for unknown splits and fields, and damaged files.
    """
    prepared = _prepared(config)
    for key, split, side in _sides(config):
        decoder, maker = Decoder(config.errors, key), Maker(config)
        read = files.some(_read(prepared, config, key, split, side, decoder, maker), split, decoder)
        yield from islice(read, config.limit if key == "split" else None)
        decoder.report()
        maker.report()


def fingerprint(config: Config) -> str:
    """Digest of the prepared files, and of splits and fields."""
    folder = _prepared(config).folder
    shards = sorted(folder.glob("*.array_record*"))
    named_files = [(path.name, path) for path in [folder / FEATURES, *shards]]
    split_names = [(key, split) for key, split, _ in _sides(config)]
    read = [list(config.texts.items()), config.label, config.classes, config.limit]
    grouped = [] if config.group is None else [config.group]
    settings = ["tfds", repr([split_names, read]), *sides.unless_refused(config.errors), *grouped]
    return digests.of_files(named_files, *settings, key="data_dir")


def _sides(config: Config) -> list[tuple[str, str, Side | None]]:
    return sides.given(config.split, config.heldout_split, config.test_split, "split")


class Prepared(NamedTuple):
    """A data set on the disk."""

    folder: Path
    name: str  # with its config and version


def _prepared(config: Config) -> Prepared:
    """The folder of the data set. The library's own search may ask the network."""
    match = NAME.fullmatch(config.dataset)
    if match is None:
        raise fault(
            "dataset", f"{config.dataset!r} is no name of a data set; give one as glue/sst2:2.0.0"
        )
    place = config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    data_dir = Path(place).expanduser()
    folder = data_dir / match["name"] / (match["config"] or "")
    versions = {
        tuple(map(int, path.name.split("."))): path
        for path in folder.glob("*.*.*")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.name) and (path / INFO).is_file()
    }
    if match["version"] is not None:
        version_number = tuple(map(int, match["version"].split(".")))
        versions = {
            version: path for version, path in versions.items() if version == version_number
        }
    if versions:
        version_folder = versions[max(versions)]
        name = version_folder.relative_to(data_dir).as_posix()
        if not any(version_folder.glob("*.array_record*")):
            raise fault(
                "dataset",
                f"{name} is not prepared as ArrayRecord; {_command(match, place)} --overwrite",
            )
        return Prepared(version_folder, name)
    configs = sorted({path.parents[1].name for path in folder.glob(f"*/*.*.*/{INFO}")})
    if configs and match["config"] is None:
        named = ", ".join(f"{match['name']}/{config_name}" for config_name in configs)
        raise fault("dataset", f"{config.dataset} has several configs; prepared: {named}")
    raise fault(
        "dataset", f"{config.dataset} is not prepared in {data_dir}; {_command(match, place)}"
    )


def _command(match: re.Match[str], data_dir: str) -> str:
    chosen = f" --config={match['config']}" if match["config"] else ""
    return (
        "where TensorFlow is installed and there is a network, run: tfds build "
        f"{match['name']}{chosen} --file_format=array_record --data_dir={data_dir}"
    )


def _read(
    prepared: Prepared,
    config: Config,
    key: str,
    split: str,
    side: Side | None,
    decoder: Decoder,
    maker: Maker,
) -> Iterator[Document]:
    read = {name for path in config.names for name in (path, path.partition(".")[0])}
    for number, example in enumerate(_examples(prepared, key, split)):
        where = partial(_place, prepared.name, split, number)
        # other features may be bytes that are no text, as those of images
        fields = {name: value for name, value in example.items() if name in read}
        texts = decoder.decode_all(fields, where())
        record = None if texts is None else {**example, **texts}
        document = None if record is None else maker.make(record, where(), where, side)
        if document is not None:
            yield document


def _place(name: str, split: str, number: int) -> str:
    return f"{name}:{split}:{number}"


def _examples(prepared: Prepared, key: str, split: str) -> Iterator[Mapping[str, Any]]:
    """The examples of a split."""
    import tensorflow_datasets  # slow to import

    try:
        builder: Any = tensorflow_datasets.builder_from_directory(prepared.folder)
        source = builder.as_data_source(split)
        for first in range(0, len(source), ROWS):
            rows = range(first, min(first + ROWS, len(source)))
            yield from source.__getitems__(rows)
    except (OSError, ValueError, RuntimeError, IndexError) as error:
        why = " ".join(str(error).split())
        raise fault(key, f"cannot read {split!r} of {prepared.name} ({why:.300})") from None


SOURCE = Source(Config, documents, fingerprint, provides=lambda config: config.form)
