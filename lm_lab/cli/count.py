"""lm-lab count: reads complete configs as a JSON list on stdin, and prints the sizes of their runs
as a line of JSON, for launches of sweeps.
"""

import json
import sys

from lm_lab.library.counting import count_configs
from lm_lab.types import UserError


def run(argv: list[str]) -> int:
    """Prints a JSON list with the columns of each config."""
    if argv:
        raise UserError(f"unexpected argument {argv[0]!r}; configs are read from stdin")
    print(json.dumps(count_configs(json.load(sys.stdin))))
    return 0
