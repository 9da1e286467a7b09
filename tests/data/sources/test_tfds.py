"""A data set that the test prepares is read as text, labels and pairs; one that is not prepared is
one line with the command that does it.
"""

import sys

import pytest

from lm_lab.data.sources import tfds
from lm_lab.schema import build
from lm_lab.types import UserError

WORDS = ["하나", "둘", "셋", "넷"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder with the data set `counting`, of 20 examples to train on and 4 to validate with."""
    library = pytest.importorskip("tensorflow_datasets")

    class Counting(library.core.GeneratorBasedBuilder):
        VERSION = library.core.Version("1.0.0")

        def _info(self):
            features = {
                "text": library.features.Text(),
                "label": library.features.ClassLabel(names=["even", "odd"]),
                "translation": library.features.Translation(("en", "ko")),
                "picture": library.features.Text(),  # bytes that are no text, and not asked for
            }
            features = library.features.FeaturesDict(features)
            return library.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            del dl_manager
            return {"train": self._generate_examples(20), "validation": self._generate_examples(4)}

        def _generate_examples(self, count):  # type: ignore[override]
            for number in range(count):
                word = WORDS[number % 4]
                pair = {"en": str(number), "ko": word}
                example = {"text": word, "label": number % 2, "translation": pair}
                yield number, example | {"picture": b"\xff\xd8"}

    place = tmp_path_factory.mktemp("tfds")
    Counting(data_dir=str(place), file_format="array_record").download_and_prepare()
    return place


def config(place, **settings):
    given = {"dataset": "counting", "data_dir": str(place), **settings}
    return build(tfds.Config, given, "config.data.source")


def test_text_labels_and_pairs_of_every_split(data_dir):
    stream = list(tfds.documents(config(data_dir, heldout_split="validation")))
    assert [d.split for d in stream] == ["train"] * 20 + ["heldout"] * 4
    assert sorted(d.text for d in stream[:20]) == sorted(WORDS * 5)
    labelled = list(tfds.documents(config(data_dir, label="label")))
    assert all(d.label == WORDS.index(d.text) % 2 for d in labelled)
    fields = {"source": "translation.en", "target": "translation.ko"}
    pairs = list(tfds.documents(config(data_dir, **fields)))
    assert all(d.target == WORDS[int(d.text) % 4] for d in pairs)
    assert len({d.name for d in pairs}) == 20
    assert len(list(tfds.documents(config(data_dir, split="train[:10%]")))) == 2
    assert len(list(tfds.documents(config(data_dir, limit=3)))) == 3
    assert "tensorflow" not in sys.modules


def test_the_fingerprint_is_of_files_splits_and_fields(data_dir):
    settings = [{}, {"label": "label"}, {"split": "train[:10%]"}, {"limit": 3}, {"errors": "skip"}]
    prints = [tfds.fingerprint(config(data_dir, **each)) for each in settings]
    assert len(set(prints)) == len(settings)
    assert tfds.fingerprint(config(data_dir)) == prints[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"dataset": "glue/sst2"},
            r"dataset: glue/sst2 is not prepared in .*run: tfds build glue --config=sst2 "
            r"--file_format=array_record --data_dir=",
        ),
        ({"dataset": "counting:2.0.0"}, r"counting:2\.0\.0 is not prepared"),
        ({"dataset": "../secret"}, r"'\.\./secret' is no name of a data set"),
        ({"split": "test"}, r"cannot read 'test' of counting/1\.0\.0 \(Unknown split"),
        ({"split": "train[:99]"}, r"\(Requested slice"),
        ({"text": "body"}, r"has no field 'body'; its fields: 'label', 'picture', 'text', 'tr"),
        ({"text": "label"}, r"'label' must be text, not 0"),
    ],
)
def test_what_is_not_there_is_one_line(data_dir, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        list(tfds.documents(config(data_dir, **settings)))
    assert "\n" not in str(caught.value)


def test_other_forms_and_several_configs(tmp_path):
    for name in ("glue/sst2/2.0.0", "glue/cola/2.0.0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match=r"several configs; prepared: glue/cola, glue/sst2"):
        tfds.fingerprint(config(tmp_path, dataset="glue"))
    with pytest.raises(UserError, match=r"not prepared as ArrayRecord; .*run.* --overwrite$"):
        tfds.fingerprint(config(tmp_path, dataset="glue/sst2"))


def test_a_damaged_shard_is_named(data_dir, tmp_path):
    import shutil

    shutil.copytree(data_dir, tmp_path / "copy")
    (shard,) = (tmp_path / "copy").glob("counting/*/*train*")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(UserError, match=r"split: cannot read 'train' of counting/1\.0\.0"):
        list(tfds.documents(config(tmp_path / "copy")))
