"""Folders of checkpoints, saved once."""

import shutil

import pytest

from tests.runs.states import save_steps


@pytest.fixture(scope="session")
def two_steps(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    save_steps(directory, [10, 20])
    return directory


@pytest.fixture
def directory(two_steps, tmp_path):
    """A copy of a folder with the steps 10 and 20."""
    return shutil.copytree(two_steps, tmp_path / "checkpoints")
