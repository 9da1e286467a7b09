#!/usr/bin/env python3
"""Writes constraints.txt anew: the newest release of everything that lm_lab, its tests, its site
and Ray install.

    tools/refresh_constraints.py python3.11 python3.12

Give every interpreter that lm_lab supports, oldest first. Where they install different releases, a
line says from which Python to which it holds; a Python newer than the last takes the last one's.
Run ./tools/test with each afterwards.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
HEADING = (
    "# The releases that ./tools/demo, ./tools/test and ./tools/docs install. "
    "Made by tools/refresh_constraints.py.\n"
)
LIST = """
import importlib.metadata, sys
print(*sys.version_info[:2])
for package in importlib.metadata.distributions():
    print(package.name, package.version)
"""


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    releases = {}
    for interpreter in sys.argv[1:]:
        version, pins = newest(interpreter)
        releases[version] = pins
        print(f"Python {'.'.join(map(str, version))}: {len(pins)} packages")
    CONSTRAINTS.write_text(HEADING + "".join(f"{line}\n" for line in merge(releases)))


def newest(interpreter: str) -> tuple[tuple[int, int], dict[str, str]]:
    """(Python's version, package -> release), as pip resolves them in an
    environment that is then thrown away.
    """
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
        python = f"{folder}/bin/python"
        # setuptools builds lm_lab; the environment has whichever release came with Python.
        install = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--upgrade",
            "setuptools",
            "-e",
            f"{ROOT}[tests,docs,ray]",
        ]
        subprocess.run(install, check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
        listing = subprocess.run(
            [python, "-c", LIST], check=True, capture_output=True, text=True
        ).stdout
    first, *rest = listing.splitlines()
    major, minor = first.split()
    pins = dict(line.split() for line in rest)
    pins = {
        name: release.split("+")[0] for name, release in pins.items()
    }  # torch 2.13.0+cpu: any build of 2.13.0
    return (int(major), int(minor)), {
        name: pins[name] for name in pins if name not in ("pip", "lm_lab", "lm-lab")
    }


def merge(releases: dict[tuple[int, int], dict[str, str]]) -> list[str]:
    """One line for a package that is the same everywhere, else a line for
    each Python that has it.
    """
    versions = sorted(releases)
    lines = []
    for name in sorted({name for pins in releases.values() for name in pins}, key=str.lower):
        found = [pins.get(name) for _, pins in sorted(releases.items())]
        if len(set(found)) == 1:
            lines.append(f"{name}=={found[0]}")
            continue
        for index, release in enumerate(found):
            if release is not None:
                lines.append(f"{name}=={release}; {marker(versions, index)}")
    return lines


def marker(versions: list[tuple[int, int]], index: int) -> str:
    """The environment marker for the Pythons from the one at `index` (or any older one, if it is
    the first) up to the next.
    """
    bounds = []
    if index > 0:
        bounds.append(f'python_version >= "{versions[index][0]}.{versions[index][1]}"')
    if index + 1 < len(versions):
        bounds.append(f'python_version < "{versions[index + 1][0]}.{versions[index + 1][1]}"')
    return " and ".join(bounds)


if __name__ == "__main__":
    main()
