"""The environment that a launcher records without starting a device."""

import sys

import pytest

from lm_lab.sweeps.environment import worker_environment
from lm_lab.types import UserError


@pytest.mark.processes
def test_the_environment_is_this_process_s(tmp_path, monkeypatch):
    (tmp_path / "jax.py").write_text(
        "raise SystemExit('what lies in the current folder is no module')"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lm-lab", "sweep", "experiments/x", "--workdir=a b"])
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    environment = worker_environment()
    assert environment["command"] == "lm-lab sweep experiments/x '--workdir=a b'"
    assert environment["devices"]["platform"] == "cpu"


@pytest.mark.processes
def test_a_machine_without_its_device_is_one_line(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    with pytest.raises(
        UserError, match=r"does not start: .*nonsense.*; check the installation and JAX_PLATFORMS"
    ):
        worker_environment()
