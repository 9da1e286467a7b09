import jax.numpy as jnp
import pytest

from lm_lab.compute.device import PEAKS, peak, utilisation


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
