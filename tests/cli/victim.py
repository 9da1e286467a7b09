"""python -m tests.cli.victim SIGNAL POINT CALL WORDS...: lm-lab WORDS..., struck at a moment of choice.

The signal comes just before the CALLth call of POINT, a dotted path such as lm_lab.train.checkpoint.seal.
"""

import itertools
import os
import signal
import sys
from pkgutil import resolve_name

from lm_lab.cli.main import main


def strike(number: signal.Signals, point: str, call: int) -> None:
    holder, name = point.rsplit(".", 1)
    owner = resolve_name(holder)
    function, calls = getattr(owner, name), itertools.count(1)

    def struck(*args, **kwargs):
        if next(calls) == call:
            os.kill(os.getpid(), number)
        return function(*args, **kwargs)

    setattr(owner, name, struck)


if __name__ == "__main__":
    _, name, point, call, *words = sys.argv
    strike(signal.Signals[name], point, int(call))
    sys.argv = ["lm-lab", *words]
    main()
