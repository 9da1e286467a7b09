import jax.numpy as jnp
import pytest

from lm_lab.cli import arguments, plan
from lm_lab.compute import device
from lm_lab.compute.device import PEAKS, peak, utilisation
from tests import tiny


@pytest.mark.parametrize(
    "kind, dtype, teraflops",
    [
        ("NVIDIA H100 80GB HBM3", jnp.bfloat16, 989.5),
        ("NVIDIA H100 PCIe", "float16", 756.5),
        ("NVIDIA H200", jnp.float32, 494.5),
        ("NVIDIA A100-SXM4-40GB", jnp.bfloat16, 312),
        ("A100-SXM4-40GB", jnp.float32, 156),
        ("NVIDIA A100 80GB PCIe", jnp.bfloat16, 312),
        ("Tesla V100-SXM2-16GB", jnp.float16, 125),
        ("NVIDIA L4", jnp.bfloat16, 121),
        ("TPU v4", jnp.bfloat16, 275),
        ("TPU v5 lite", jnp.bfloat16, 197),
        ("TPU v5p", jnp.bfloat16, 459),
        ("TPU v6 lite", jnp.bfloat16, 918),
    ],
)
def test_known_peaks(kind, dtype, teraflops):
    assert peak(kind, dtype) == teraflops * 1e12


@pytest.mark.parametrize(
    "kind, dtype",
    [
        ("cpu", jnp.float32),
        ("NVIDIA L40S", jnp.bfloat16),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", jnp.bfloat16),
        ("Tesla V100-SXM2-16GB", jnp.bfloat16),
        ("NVIDIA H100 80GB HBM3", jnp.int32),
    ],
)
def test_unknown_peaks_are_none_never_a_guess(kind, dtype):
    assert peak(kind, dtype) is None
    assert utilisation(1e12, kind, dtype) is None


def test_utilisation_is_a_share_of_the_peak():
    assert utilisation(156e12, "NVIDIA A100-SXM4-80GB", "bfloat16") == 0.5


def test_patterns_are_lower_case_as_kinds_are_compared():
    assert all(pattern == pattern.lower() for pattern, _ in PEAKS)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_plan_for_a_device_without_a_stated_peak_measures_one_and_says_so(monkeypatch, dtype):
    monkeypatch.setattr(device, "PRODUCT", 64)
    arguments.parse(plan.FLAGS, ["--utilisation=0.5"], "plan")
    experiment, _ = tiny.resolve({"precision.compute": dtype})
    rate = device.measure(dtype, 0.01)
    assert 1e6 < rate < 1e15
    monkeypatch.setattr(device, "measure", lambda asked: {dtype: 1e9}[asked])
    pace = plan._machine(experiment).pace()
    assert pace.time(6e10) == "120.0 s"
    assert (
        pace.words
        == f"at 50% of 1e+09 FLOP/s, of {dtype} products as measured here just now on 'cpu'"
    )
