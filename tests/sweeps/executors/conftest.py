"""Units of the executors' tests."""

import pytest

from lm_lab.contracts import Unit


@pytest.fixture
def unit(tmp_path):
    """A unit of a name that runs a shell script, with its log below `tmp_path`."""

    def make(name, script):
        log = tmp_path / "runs" / name / "log.txt"
        return Unit((name,), ("sh", "-c", script), log)

    return make
