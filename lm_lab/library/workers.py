"""The command line of a worker: lm-lab in a process of its own, with the packages it needs."""

import importlib.util
import os
import sys
from collections.abc import Collection
from pathlib import Path


def worker_command(trusted: Collection[str], *words: str) -> list[str]:
    """lm-lab WORDS, which may import the trusted packages from where this process finds them.

    -P: what lies in the current folder is no module of the workers, but for what is trusted.
    """
    name, *rest = words
    flag = f"--trust={','.join(sorted(trusted))}"
    worker = [sys.executable, "-P", "-m", "lm_lab", name, flag, *rest]
    folders = [folder for package in sorted(trusted) if (folder := _folder_of(package))]
    if not folders:
        return worker
    paths = [*folders, *filter(None, [os.environ.get("PYTHONPATH")])]
    return ["env", f"PYTHONPATH={os.pathsep.join(dict.fromkeys(paths))}", *worker]


def _folder_of(package: str) -> str | None:
    """The folder in which this process finds a package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).absolute()
    return str(file.parents[1] if spec.submodule_search_locations else file.parent)
