"""Whether all processes of a launch live: what remains of a launch waits for ever for one that is
gone, or fails in a collective without saying whose fault it is.
"""

import contextlib
import faulthandler
import socket
import threading
import traceback
from collections.abc import Iterator, Mapping
from typing import NoReturn

import jax

from lm_lab.runs import peers
from lm_lab.train.preemption import GOES_ON, RESUME, Preempted, leave, say
from lm_lab.types import UserError

BEAT_SECONDS = 2.0
LOST_SECONDS = 20.0  # without a beat; JAX's own limit is 100 s, and then it aborts


class Liveness:
    """Inside `with`, a thread that tells the other processes that this one lives, and ends this one
    with all stacks and the code RESUME where another is not heard of for LOST_SECONDS.

    Time is counted in own beats, so that a process that was suspended does not blame the others.
    """

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="liveness", daemon=True)

    def __enter__(self) -> "Liveness":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    @contextlib.contextmanager
    def explains(self) -> Iterator[None]:
        """An error in the block that is no error of the user may be due to a process that is gone:
        waits until that is known, and ends this one if so.
        """
        try:
            yield
        except (UserError, Preempted):
            raise
        except Exception as error:
            traceback.print_exception(error)
            say("an error in one process; waits whether another is lost")
            self._closed.wait(LOST_SECONDS + 3 * BEAT_SECONDS)  # the thread may end the process
            raise

    def _watch(self) -> None:
        here = socket.gethostname()
        others = [other for other in range(peers.count()) if other != peers.index()]
        silent = dict.fromkeys(others, 0)  # own beats since the newest of theirs
        newest: dict[str, object] = {}
        beat = 0
        while not self._closed.wait(BEAT_SECONDS):
            beat += 1
            try:
                peers.post(f"beats/{peers.index()}", (beat, here))
                beats = peers.posted("beats")
            except jax.errors.JaxRuntimeError as error:
                self._end(f"process 0 does not answer ({str(error).splitlines()[0]})")
            for other in others:
                moved = beats.get(str(other)) != newest.get(str(other))
                silent[other] = 0 if moved else silent[other] + 1
            newest = beats
            lost = [other for other in others if silent[other] * BEAT_SECONDS >= LOST_SECONDS]
            if lost:
                named = ", ".join(_name(other, newest) for other in lost)
                self._end(f"{named}: not heard of for {LOST_SECONDS:.0f} s")

    def _end(self, words: str) -> NoReturn:
        say(words)
        faulthandler.dump_traceback(2)
        leave(RESUME, f"ended, as a process of the launch is lost; {GOES_ON}")


def _name(process: int, beats: Mapping[str, object]) -> str:
    beat = beats.get(str(process))
    where = f" on {beat[1]}" if isinstance(beat, tuple) else ""
    return f"process {process}{where}"
