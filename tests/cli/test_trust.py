"""A folder of unknown origin runs no code: modules that its files name are imported only if the
user trusts them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lm_lab import config as configs
from lm_lab import report
from lm_lab.cli.main import dispatch
from lm_lab.library import studies
from lm_lab.runs import sealed, versions
from lm_lab.runs.durable import replace
from lm_lab.runs.locks import Lock
from lm_lab.runs.reading import sha256_of
from lm_lab.runs.trust import trusting
from lm_lab.train import restore
from lm_lab.types import UserError
from tests.cli import cli_helpers
from tests.report.conftest import write_sweep

MARK = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
NAMES = (
    "model.family",
    "model.positions.name",
    "model.positions",
    "objective.name",
    "adapter.name",
    "data.source",
    "data.source.name",
    "data.tokenizer.name",
    "optimizer.name",
    "schedule.name",
    "train.also_evaluate",
)
READERS = (
    "evaluate --workdir=run",
    "generate --workdir=run",
    "merge --workdir=run --to=new --average",
    "convert --from=run --to=new",
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which `evil` can be imported: it leaves a file `ran` behind."""
    (tmp_path / "evil.py").write_text(MARK)
    (tmp_path / "tiny.py").write_text(cli_helpers.CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return tmp_path


@pytest.fixture
def stored(home: Path) -> Callable[[str], None]:
    """Makes the folder `run`, whose config names `evil` in one place."""

    def store(key: str) -> None:
        values = node = configs.resolve(configs.load("tiny.py"))[1]
        *path, field = key.split(".")
        for part in path:
            node = node[part]
        node[field] = ["evil.code"] if field == "also_evaluate" else "evil.code"
        (home / "run").mkdir()
        (home / "run" / "config.json").write_text(json.dumps(versions.stamped(values)))

    return store


@pytest.mark.parametrize("key", NAMES)
def test_a_stored_config_runs_no_code(home: Path, stored: Callable[[str], None], key: str):
    stored(key)
    for line in READERS:
        with pytest.raises(
            UserError,
            match=rf"config\.json: config\.{key}(\.name)? names 'evil\.code'.*--trust=evil",
        ):
            dispatch(line.split())
    assert not (home / "ran").exists()


@pytest.mark.parametrize("line", READERS)
def test_who_trusts_the_package_says_so(home: Path, stored: Callable[[str], None], line: str):
    stored("model.family")
    with pytest.raises(UserError, match=r"cannot import 'evil\.code'"):  # evil itself was
        dispatch(f"{line} --trust=other,evil".split())
    assert (home / "ran").exists()


def test_the_run_that_another_begins_with_runs_no_code(home: Path, stored: Callable[[str], None]):
    stored("adapter.name")
    with pytest.raises(UserError, match=r"config\.adapter\.name names 'evil\.code'.*--trust=evil"):
        configs.resolve(configs.override(configs.load("tiny.py"), {"train.initial": "run"}))
    with (
        pytest.raises(UserError, match=r"config\.adapter\.name names"),
        trusting(["evi", "my_research"]),
    ):
        restore.load_params(home / "run")
    assert not (home / "ran").exists()


def test_a_sweep_runs_the_code_of_its_study_alone(home: Path):
    values = configs.resolve(configs.load("tiny.py"))[1]
    values["data"]["source"] = "evil.code"
    study = {"name": "s", "created": "then", "analysis": {"kind": "evil.code"}}
    runs = [{"name": "a", "overrides": {}, "config": values}]
    (home / "sweep.json").write_text(json.dumps(versions.stamped(study | {"runs": runs})))
    (home / "results.csv").write_text("name,status\na,complete\n")
    with pytest.raises(
        UserError, match=r"sweep\.json: config\.data\.source\.name names 'evil\.code'.*--trust=evil"
    ):
        dispatch(["members", str(home), "a"])
    with pytest.raises(
        UserError, match=r"sweep\.json: analysis\.kind names 'evil\.code'.*--trust=evil"
    ):
        dispatch(["report", str(home)])
    assert not (home / "ran").exists()
    with pytest.raises(UserError, match="cannot import"):
        dispatch(["members", "--trust=evil", str(home), "a"])
    command = studies._command({"mine", "evil"}, Path("-s"), ["a"])
    assert command[command.index("-P") :] == [
        "-P",
        "-m",
        "lm_lab",
        "members",
        "--trust=evil,mine",
        "-s",
        "a",
    ]


@pytest.mark.processes
def test_what_lies_in_the_current_folder_is_no_module(home: Path):
    (home / "jax.py").write_text(MARK)
    command = [sys.executable, "-m", "lm_lab", "generate", "--workdir=nowhere"]
    ended = subprocess.run(
        command,
        cwd=home,
        env=cli_helpers.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, (home / "ran").exists()) == (2, False), ended.stderr


NAME = {"up": "../../x", "root": "/etc", "nul": "a\0"}


@pytest.mark.parametrize("name", NAME.values(), ids=NAME)
def test_a_sweep_reads_no_run_outside_its_folder(home: Path, name: object):
    study = {
        "name": "s",
        "created": "then",
        "analysis": {"kind": "isoflop"},
        "runs": [{"name": name, "overrides": {}, "config": {}}],
    }
    (home / "sweep.json").write_text(json.dumps(study))
    (home / "results.csv").write_text(f"name,status\n{name},complete\n")
    for line in (["report", str(home)], ["members", str(home), "x"]):
        with pytest.raises(UserError, match=r"sweep\.json: run 1 .* is none"):
            dispatch(line)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname"])
def test_a_manifest_covers_its_own_folder_alone(tmp_path: Path, name: str):
    (tmp_path / "secret").touch()
    forged = {"files": {name: [0, sha256_of(tmp_path / "secret")]}}
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / sealed.MANIFEST).write_text(
        json.dumps({"sha256": sealed.fingerprint(forged), **forged})
    )
    with pytest.raises(sealed.Damaged, match="no file of the folder"):
        sealed.read_manifest(tmp_path / "step")


def test_no_link_leads_a_writer_elsewhere(home: Path):
    (home / "precious").write_text("precious")
    (home / "lock").symlink_to("precious")
    with pytest.raises(UserError, match="it is a link"), Lock(home / "lock"):
        pass
    (home / "out").symlink_to("precious")
    (home / f".out.{os.getpid()}.tmp").symlink_to("precious")
    replace(home / "out", b"new")
    assert (home / "precious").read_text() == "precious"
    assert (home / "out").read_text() == "new"


def test_a_report_follows_no_link(home: Path):
    few = {"kind": "isoflop", "draws": 20}
    write_sweep(home / "s", budgets=[1e11], sizes=[1.0], rates=[1.0], seeds=3, analysis=few)
    (home / "precious").write_text("precious")
    (home / "s/figures").mkdir()
    for name in ("analysis.json", "figures/valleys.svg", "figures/valleys.png"):
        (home / "s" / name).symlink_to(home / "precious")
    report.write(home / "s")
    assert (home / "precious").read_text() == "precious"
