"""The configs and studies that lm_lab brings, found by their names from any folder.

A clone has them in configs/ and experiments/ beside the package; a wheel has the same files inside
the package (setup.cfg: package_dir).
"""

from pathlib import Path

FOLDERS = ("configs", "experiments")
PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """The folder of lm_lab's own configs or experiments."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def find(path: Path) -> Path:
    """The path itself; or, where no such file exists and it begins with configs/ or experiments/,
    lm_lab's own file of that name, if there is one.
    """
    if path.is_file() or len(path.parts) < 2 or path.parts[0] not in FOLDERS:
        return path
    own = folder(path.parts[0]).joinpath(*path.parts[1:])
    return own if own.is_file() else path
