"""python -m lm_lab is lm-lab: what lies in the current folder is no module of it, though Python's
-m says so.
"""

import sys
from pathlib import Path

if sys.path and not sys.flags.safe_path and Path(sys.path[0]) == Path.cwd():
    del sys.path[0]

from lm_lab.cli.main import main

main()
