"""Data sets of the hub, and folders and files that the library `datasets` writes."""

import builtins
import types

import pytest

from lm_lab.data import hub
from lm_lab.data.sources import hugging_face
from lm_lab.schema import build
from lm_lab.types import UserError

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the library

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXTS = [f"줄 {number}" for number in range(9)]


def rows(texts=TEXTS):
    return datasets.Dataset.from_dict({"text": texts, "label": list(range(len(texts)))})


def config(dataset, **settings):
    given = {"dataset": str(dataset), **settings}
    return build(hugging_face.Config, given, "config.data.source")


def texts(dataset, **settings):
    return [d.text for d in hugging_face.documents(config(dataset, **settings))]


@pytest.fixture
def online(tmp_path, monkeypatch):
    """The hub, with one data set `org/lines`: the names that were asked for, and a switch."""
    monkeypatch.setenv("LM_LAB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "hub").mkdir()
    rows().to_parquet(tmp_path / "hub" / "train-0.parquet")
    hub.commit.cache_clear()
    state = types.SimpleNamespace(up=True, sha=COMMIT, loads=[], downloaded={})

    def dataset_info(name, revision, timeout):
        assert timeout
        if not state.up:
            raise ConnectionError("no network")
        if name != "org/lines":
            raise ValueError(f"Repository {name} not found")
        return types.SimpleNamespace(sha=state.sha)

    def load_dataset(name, subset, *, split, revision, streaming):
        state.loads.append((name, split, revision, streaming))
        if streaming:  # the library would import PyTorch for it; both have take and iter
            return rows()
        place = {"data_dir": str(tmp_path / "hub"), "cache_dir": str(tmp_path / "library")}
        return datasets.load_dataset("parquet", subset, split=split, **place)

    def snapshot_download(name, repo_type, revision, local_files_only):
        assert (repo_type, local_files_only) == ("dataset", True)
        if revision not in state.downloaded:
            raise FileNotFoundError(name)
        return str(tmp_path / state.downloaded[revision])

    library = types.SimpleNamespace(
        HfApi=lambda: types.SimpleNamespace(dataset_info=dataset_info),
        load_dataset=load_dataset,
        snapshot_download=snapshot_download,
    )
    monkeypatch.setattr(hub, "imported", lambda package: library)
    return state


def test_a_set_of_the_hub_is_brought_once_and_read_without_a_network(online):
    found = list(hugging_face.documents(config("org/lines", label="label")))
    assert [(d.text, d.label) for d in found] == list(zip(TEXTS, range(9)))
    hub.commit.cache_clear()
    online.up = False
    assert texts("org/lines") == TEXTS
    assert online.loads == [("org/lines", "train", COMMIT, False)]


def test_a_stream_is_cut_and_kept(online):
    assert texts("org/lines", streaming=True, limit=4) == TEXTS[:4]
    assert texts("org/lines", streaming=True, limit=4) == TEXTS[:4]
    assert online.loads == [("org/lines", "train", COMMIT, True)]
    assert texts("org/lines", split="train[2:5]") == TEXTS[2:5]


def test_the_fingerprint_is_of_commit_split_and_fields(online):
    settings = [{}, {"label": "label"}, {"split": "test"}, {"limit": 3}, {"revision": "f" * 40}]
    prints = [hugging_face.fingerprint(config("org/lines", **each)) for each in settings]
    hub.commit.cache_clear()
    online.sha = COMMIT[::-1]
    prints.append(hugging_face.fingerprint(config("org/lines")))
    hub.commit.cache_clear()
    online.up = False
    assert hugging_face.fingerprint(config("org/lines")) == prints[-1]
    assert len(set(prints)) == len(prints)
    assert not online.loads


def test_what_the_hub_does_not_give_is_one_line(online):
    with pytest.raises(UserError, match=r"'org/none' is no file or folder here, and the hub does"):
        texts("org/none")
    with pytest.raises(UserError, match=r"split: cannot read 'dev' of org/lines \(ValueError: Unk"):
        texts("org/lines", split="dev")
    online.up = False
    with pytest.raises(UserError, match=r"\(ConnectionError: no network\); check the name and the"):
        texts("org/lines", revision="v1")
    with pytest.raises(UserError, match=r"streaming needs a limit"):
        config("org/lines", streaming=True)


def test_what_the_hubs_own_library_downloaded_is_read_without_a_network(online):
    online.up, online.downloaded = False, {"v2": COMMIT}
    assert texts("org/lines", revision="v2") == TEXTS
    assert hugging_face.revision(config("org/lines", revision="v2")) == COMMIT


def test_the_clients_own_error_is_said_with_its_remedy():
    client = types.new_class("GatedRepoError", (OSError,))
    client.__module__ = f"{hub.CLIENT}.errors"
    inner, outer = client("403\nrestricted"), FileNotFoundError("check your connection")
    inner.__cause__, outer.__cause__ = ConnectionError("403"), inner
    assert hub.why(outer) == f"GatedRepoError: 403 restricted; {hub.REMEDIES['GatedRepoError']}"
    assert hub.why(ValueError("a split")) == "ValueError: a split"


def test_folders_and_files_that_the_library_wrote(tmp_path):
    rows().save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": rows(), "test": rows(["t"])}).save_to_disk(tmp_path / "several")
    (tmp_path / "as_hub" / "data").mkdir(parents=True)
    rows().to_parquet(tmp_path / "as_hub" / "data" / "train-00000-of-00001.parquet")
    rows(["t"]).to_parquet(tmp_path / "as_hub" / "data" / "test-00000-of-00001.parquet")
    rows().to_csv(tmp_path / "training.csv")
    assert texts(tmp_path / "one") == TEXTS
    assert texts(tmp_path / "training.csv") == TEXTS
    for name in ("several", "as_hub"):
        found = hugging_face.documents(config(tmp_path / name, heldout_split="test", limit=2))
        assert [(d.text, d.split) for d in found] == [
            (TEXTS[0], "train"),
            (TEXTS[1], "train"),
            ("t", "heldout"),
        ]
    both = [hugging_face.fingerprint(config(tmp_path / name)) for name in ("several", "as_hub")]
    assert len(set(both)) == 2
    for name, split, message in (
        ("one", "dev", r"is one split, which save_to_disk wrote"),
        ("as_hub", "dev", r"no file below .* is of the split 'dev'"),
        ("as_hub", "../train", r"of files here a split is a name"),
        ("several", "dev", r"several has no split 'dev'; its splits: test, train"),
    ):
        with pytest.raises(UserError, match=message):
            texts(tmp_path / name, heldout_split=split)
    with pytest.raises(UserError, match=r"source\.subset: no folder 'en' in .*one; leave it out"):
        texts(tmp_path / "one", subset="en")


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith(("datasets", "huggingface_hub")):
            raise ImportError(name)
        return real(name, *rest)

    hub.commit.cache_clear()
    monkeypatch.setattr(hub.importlib, "import_module", without)
    with pytest.raises(
        UserError, match=r'huggingface_hub, which is not here; pip install "lm_lab\['
    ):
        texts("org/lines")
