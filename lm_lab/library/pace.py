"""How long FLOPs take on a kind of device, by its data sheet or by a measurement here."""

import math
from typing import NamedTuple

import jax

from lm_lab.compute import device
from lm_lab.schema import suggest
from lm_lab.types import UserError


class Pace(NamedTuple):
    """FLOP/s that a run is expected to make, and what that rests on."""

    flops_per_second: float | None  # None: not known
    words: str

    def time(self, flops: float) -> str:
        """The time for so many FLOPs, for a person."""
        if self.flops_per_second is None:
            return "unknown"
        seconds = flops / self.flops_per_second
        if seconds < 1:
            return f"{1000 * seconds:.3g} ms"
        return f"{seconds / 3600:,.2f} h" if seconds > 600 else f"{seconds:,.1f} s"


def check(kind: str | None, utilisation: float) -> None:
    """Raises UserError for a kind of device that no peak is known of, and a share that is none."""
    if not math.isfinite(utilisation):
        raise UserError(
            f"--utilisation={utilisation} must be a share of the peak, as in --utilisation=0.4"
        )
    if kind is not None and not device.is_known(kind):
        kinds = sorted({pattern.strip("*-").strip() for pattern, rates in device.PEAKS if rates})
        raise UserError(f"--device={kind}: no peak is known of it; {suggest(kind.lower(), kinds)}")


def pace(kind: str | None, dtype: str, utilisation: float, devices: int = 1) -> Pace:
    """The pace on `devices` of a kind (None: the local one, measured where no data sheet states
    its rate, which takes a second) at a share of their peak.
    """
    name = kind or jax.devices()[0].device_kind
    peak = device.peak(name, dtype)
    if peak is not None:
        basis = f"at {utilisation:.0%} of {peak:.3g} FLOP/s, {devices} x {name}"
        return Pace(peak * utilisation * devices, basis)
    if kind is not None:
        basis = f"no peak is known of {name!r}; name another, as in --device='TPU v4'"
        return Pace(None, basis)
    rate = device.measure(dtype)
    basis = f"of {dtype} products as measured here just now on {name!r}"
    sharing = 1 if name == "cpu" else devices  # CPU devices share one machine
    return Pace(rate * utilisation * sharing, f"at {utilisation:.0%} of {rate:.3g} FLOP/s, {basis}")
