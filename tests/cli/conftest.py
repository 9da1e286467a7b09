"""One undisturbed run and one undisturbed sweep, with which killed ones are compared."""

from pathlib import Path

import pytest

from tests.cli import cli_helpers


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config file."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "tiny.py").write_text(cli_helpers.CONFIG)
    return folder


@pytest.fixture
def config(home: Path) -> str:
    """The flag that names the tiny config."""
    return f"--config={home / 'tiny.py'}"


@pytest.fixture
def undisturbed(home: Path, config: str) -> Path:
    """A run of the tiny config that nobody interrupted; made once a session."""
    run = home / "undisturbed"
    if not run.exists():
        ended = cli_helpers.lm_lab_anew("train", config, f"--workdir={run}")
        assert ended.returncode == 0, ended.stderr
        (home / "undisturbed.stderr").write_text(ended.stderr)
    return run
