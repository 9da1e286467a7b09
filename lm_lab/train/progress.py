"""How far a run is: a bar on a terminal, plain lines elsewhere."""

import sys
import time

from tqdm import tqdm

LINE_EVERY_SECONDS = 10.0


class Progress:
    """Progress of a run from `first_step` (that of the checkpoint resumed from) to `total_steps`, on stderr.

    A terminal shows a bar. A log gets a plain line at the first update, then at most every ten seconds, and the last.
    """

    def __init__(self, total_steps: int, first_step: int, label: str) -> None:
        self._total_steps = total_steps
        self._first_step = first_step
        self._label = label
        self._start = time.monotonic()
        self._next_line = self._start
        self._unprinted = ""
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total_steps, initial=first_step, desc=label, unit="step", dynamic_ncols=True)

    def update(self, step: int, loss: float, tokens_per_second: float, utilisation: float | None) -> None:
        """Shows `step` steps as done. Loss in nats a token; utilisation, a share of the peak, None if unknown."""
        figures = describe(loss, tokens_per_second, utilisation)
        if self._bar is not None:
            self._bar.set_postfix_str(figures, refresh=False)
            self._bar.update(step - self._bar.n)
            return
        self._unprinted = f"{self._label}: step {step}/{self._total_steps}, {figures}, {self._left(step)} left"
        if time.monotonic() >= self._next_line:
            self._print()

    def close(self) -> None:
        """Ends the bar, or prints the last line if it was held back."""
        if self._bar is not None:
            self._bar.close()
        elif self._unprinted:
            self._print()

    def _left(self, step: int) -> str:
        done = step - self._first_step
        seconds = time.monotonic() - self._start
        return tqdm.format_interval(seconds / done * (self._total_steps - step)) if done > 0 else "?"

    def _print(self) -> None:
        print(self._unprinted, file=sys.stderr, flush=True)
        self._unprinted = ""
        self._next_line = time.monotonic() + LINE_EVERY_SECONDS


def describe(loss: float, tokens_per_second: float, utilisation: float | None) -> str:
    """As in "loss 2.345, 12.3k tok/s, 41% of peak"."""
    rate = tqdm.format_sizeof(tokens_per_second) if tokens_per_second >= 1000 else f"{tokens_per_second:.0f}"
    share = "" if utilisation is None else f", {utilisation:.0%} of peak"
    return f"loss {loss:.3f}, {rate} tok/s{share}"
