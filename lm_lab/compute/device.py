"""Peak FLOP/s of accelerators by their vendors' data sheets, and the share of it that a run uses.

The rates are dense (without sparsity), of one jax device, at default matmul precision: float32
means TF32 on NVIDIA chips that have it, and a bfloat16 pass on a TPU. NVIDIA's sheets print
tensor-core rates with sparsity from A100 on, which are twice the dense ones. For devices that are
not in the table, CPUs among them, `measure` times a large matrix product.
"""

import math
import time
from fnmatch import fnmatchcase

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def _tensor_cores(half: float, single: float) -> dict[str, float]:
    return {"bfloat16": half * 1e12, "float16": half * 1e12, "float32": single * 1e12}


def _volta(half: float, single: float) -> dict[str, float]:
    return {"float16": half * 1e12, "float32": single * 1e12}  # no bfloat16, no TF32


def _tpu(rate: float) -> dict[str, float]:
    return {"bfloat16": rate * 1e12, "float32": rate * 1e12}


# by device_kind in lower case; the first pattern that matches counts
PEAKS: tuple[tuple[str, dict[str, float]], ...] = (
    ("* mig *", {}),  # a slice of a chip: the name does not say which share of it
    # NVIDIA H200 datasheet (SXM 1,979 and 989 TFLOPS with sparsity; NVL 1,671 and 835)
    ("nvidia h200 nvl*", _tensor_cores(835.5, 417.5)),
    ("nvidia h200*", _tensor_cores(989.5, 494.5)),
    # NVIDIA H100 datasheet (SXM 1,979 and 989; NVL 1,671 and 835; PCIe, first edition, 1,513 and
    # 756)
    ("nvidia h100 nvl*", _tensor_cores(835.5, 417.5)),
    ("nvidia h100 pcie*", _tensor_cores(756.5, 378.0)),
    ("nvidia h100*", _tensor_cores(989.5, 494.5)),
    # NVIDIA A100 datasheet (all forms; prints dense rates)
    ("*a100-*", _tensor_cores(312.0, 156.0)),
    ("nvidia a100*", _tensor_cores(312.0, 156.0)),
    # NVIDIA V100 datasheet (V100S 130 and 16.4; SXM2 125 and 15.7; PCIe 112 and 14)
    ("*v100s-*", _volta(130.0, 16.4)),
    ("*v100-sxm2*", _volta(125.0, 15.7)),
    ("*v100-pcie*", _volta(112.0, 14.0)),
    # NVIDIA L4 datasheet (242 and 120 with sparsity)
    ("nvidia l4", _tensor_cores(121.0, 60.0)),
    # Google Cloud TPU documentation, system architecture, a chip; a v2 or v3 device is one of a
    # chip's two cores.
    ("tpu v2", _tpu(45.0 / 2)),
    ("tpu v3", _tpu(123.0 / 2)),
    ("tpu v4", _tpu(275.0)),
    ("tpu v5 lite", _tpu(197.0)),
    ("tpu v5e", _tpu(197.0)),
    ("tpu v5", _tpu(459.0)),
    ("tpu v5p", _tpu(459.0)),
    ("tpu v6 lite", _tpu(918.0)),
    ("tpu v6e", _tpu(918.0)),
)

PRODUCT = 1024  # rows and columns of the matrices that `measure` multiplies


def peak(device_kind: str, dtype: DTypeLike) -> float | None:
    """FLOP/s of one device for products of `dtype`; None if not in the table (all CPUs)."""
    kind = device_kind.lower()
    rates = next((rates for pattern, rates in PEAKS if fnmatchcase(kind, pattern)), {})
    return rates.get(jnp.dtype(dtype).name)


def is_known(device_kind: str) -> bool:
    """Whether the table lists the kind of device, with or without a rate."""
    return any(fnmatchcase(device_kind.lower(), pattern) for pattern, _ in PEAKS)


def measure(dtype: DTypeLike, seconds: float = 1.0) -> float:
    """FLOP/s of square matrix products of `dtype` on the first local device.

    Repeats the product for about `seconds` and takes the fastest.
    """
    matrix = jnp.full((PRODUCT, PRODUCT), 0.5, dtype)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(matrix, matrix))  # compiles
    shortest, begin = math.inf, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        before = time.perf_counter()
        jax.block_until_ready(product(matrix, matrix))
        shortest = min(shortest, time.perf_counter() - before)
    return 2 * PRODUCT**3 / shortest


def utilisation(flops_per_second: float, device_kind: str, dtype: DTypeLike) -> float | None:
    """`flops_per_second` as a share, in 0 .. 1, of one device's peak; None if no peak is known.

    If the FLOPs are counted from the step without remat, this is PaLM's model FLOPs utilisation
    (2204.02311).
    """
    rate = peak(device_kind, dtype)
    return None if rate is None else flops_per_second / rate
