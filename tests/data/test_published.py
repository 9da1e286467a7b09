"""Data sets that configs name: found below LM_LAB_DATA, packed or not, or
named with their origin.
"""

from pathlib import Path

import pytest

from lm_lab import config as configs
from lm_lab.data import published
from lm_lab.data.text import Text
from lm_lab.types import UserError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    "name, file, origin",
    [
        ("shakespeare_char", "tinyshakespeare/input.txt", "github.com/karpathy/char-rnn"),
        ("multi30k_de", "multi30k/tok/train.lc.norm.tok.en.gz", "github.com/multi30k/dataset"),
        ("probe_nsmc", "nsmc/ratings_train.txt.gz", "github.com/e9t/nsmc"),
        (
            "scan_length",
            "scan/length_split/tasks_train_length.txt.gz",
            "github.com/brendenlake/SCAN",
        ),
        ("g2p", "sigmorphon2020_g2p/train/kor_train.tsv", "github.com/sigmorphon/2020"),
    ],
)
def test_a_missing_data_set_is_named_with_its_origin(tmp_path, monkeypatch, name, file, origin):
    monkeypatch.setenv("LM_LAB_DATA", str(tmp_path))

    def opened():
        experiment, _ = configs.resolve(configs.load(str(CONFIGS / f"{name}.py")))
        return Text(experiment.data).dataset

    with pytest.raises(UserError) as caught:
        opened()
    assert f"no file {str(tmp_path / file)!r}" in str(caught.value).replace(
        "file or folder", "file"
    )
    assert origin in str(caught.value)
    assert str(caught.value).endswith(f"or set LM_LAB_DATA to the folder that has {file}")


def test_a_file_is_found_unpacked_too(tmp_path, monkeypatch):
    monkeypatch.setenv("LM_LAB_DATA", str(tmp_path))
    assert published.file("scan", "a.txt.gz") == str(tmp_path / "scan/a.txt.gz")
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan/a.txt").touch()
    assert published.file("scan", "a.txt.gz") == str(tmp_path / "scan/a.txt")
    monkeypatch.delenv("LM_LAB_DATA")
    assert published.file("scan", "a.txt.gz") == "data/scan/a.txt.gz"


def test_another_path_has_no_origin(tmp_path, monkeypatch):
    monkeypatch.setenv("LM_LAB_DATA", str(tmp_path))
    assert [
        published.origin(path) for path in (tmp_path, tmp_path / "own/a.txt", Path("scan/a.txt"))
    ] == [""] * 3
