"""`python -m lm_lab` is lm-lab. Python's -m makes modules of the files in the current folder
importable; lm-lab must not find those.
"""

import sys
from pathlib import Path

if sys.path and not sys.flags.safe_path and Path(sys.path[0]) == Path.cwd():
    del sys.path[0]

from lm_lab.cli.main import main

main()
