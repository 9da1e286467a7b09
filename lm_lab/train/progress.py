"""How far a run is: a bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping

from tqdm import tqdm

LINE_EVERY_SECONDS = 10.0


class Progress:
    """Progress of a run from `first_step` (that of the checkpoint resumed from) to `total_steps`,
    on stderr; nothing unless `shown`.

    A terminal shows a bar. A log gets a plain line at the first update, then at most every ten
    seconds, and the last.
    """

    def __init__(self, total_steps: int, first_step: int, label: str, shown: bool = True) -> None:
        self._shown = shown
        self._total_steps = total_steps
        self._first_step = first_step
        self._label = label
        self._start = time.monotonic()
        self._next_line = self._start
        self._step, self._figures, self._held_out = first_step, "", ""
        self._unprinted = ""
        self._bar = None
        if shown and sys.stderr.isatty():
            self._bar = tqdm(
                total=total_steps, initial=first_step, desc=label, unit="step", dynamic_ncols=True
            )

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Shows that the block compiles. Its time does not count in the estimate of the time
        left.
        """
        begin = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str("compiling")
        else:
            self._print(f"{self._where()}, compiling")
        yield
        self._start += time.monotonic() - begin

    def update(
        self,
        step: int,
        loss: float,
        tokens_per_second: float,
        utilisation: float | None,
        epochs: Mapping[str, float] | None = None,
    ) -> None:
        """Shows `step` steps as done. Loss in nats a token; utilisation, a share of the peak, None
        if unknown; epochs of the sources of a mixture.
        """
        self._step, self._figures = step, describe(loss, tokens_per_second, utilisation)
        if epochs:
            listed = ", ".join(f"{name} {count:.2g}" for name, count in epochs.items())
            self._figures += f", epochs: {listed}"
        self._show()

    def show_evaluation(self, held_out: float) -> None:
        """Shows a held-out loss in nats a token, now and in all later lines."""
        self._held_out = f"held-out {held_out:.3f}, "
        self._show()

    def _show(self) -> None:
        figures = self._held_out + self._figures
        if self._bar is not None:
            self._bar.set_postfix_str(figures, refresh=False)
            self._bar.update(self._step - self._bar.n)
            return
        self._unprinted = f"{self._where()}, {figures}, {self._left(self._step)} left"
        if time.monotonic() >= self._next_line:
            self._print_held_back()

    def close(self) -> None:
        """Ends the bar, or prints the last line if it was held back."""
        if self._bar is not None:
            self._bar.close()
        elif self._unprinted:
            self._print_held_back()

    def _where(self) -> str:
        return f"{self._label}: step {self._step}/{self._total_steps}"

    def _left(self, step: int) -> str:
        done = step - self._first_step
        seconds = time.monotonic() - self._start
        return (
            tqdm.format_interval(seconds / done * (self._total_steps - step)) if done > 0 else "?"
        )

    def _print_held_back(self) -> None:
        self._print(self._unprinted)
        self._unprinted = ""
        self._next_line = time.monotonic() + LINE_EVERY_SECONDS

    def _print(self, line: str) -> None:
        if self._shown:
            print(line, file=sys.stderr, flush=True)


def describe(loss: float, tokens_per_second: float, utilisation: float | None) -> str:
    """As in "loss 2.345, 12.3k tok/s, 41% of peak"."""
    rate = (
        tqdm.format_sizeof(tokens_per_second)
        if tokens_per_second >= 1000
        else f"{tokens_per_second:.0f}"
    )
    share = "" if utilisation is None else f", {utilisation:.0%} of peak"
    return f"loss {loss:.3f}, {rate} tok/s{share}"
