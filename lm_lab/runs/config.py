"""config.json, in the directory of a run."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_lab.runs import versions
from lm_lab.runs.durable import atomic_write
from lm_lab.runs.reading import read_object
from lm_lab.types import UserError
from lm_lab.values import hub_name

IDENTITY = "identity"  # the key of config.json under which the name of the run stands
NAME_A_RUN = "name the directory of a run; the command that trained it mends a damaged config.json"
NAME_A_FOLDER = "name the directory of a run"


def where_from(directory: Path) -> str:
    """The remedy where a run's directory is not there."""
    if name := hub_name(directory):
        return (
            "if it is a model of the Hugging Face hub, make it a run's directory first: lm-lab "
            f"convert --from={name} --to=FOLDER"
        )
    return NAME_A_FOLDER


def read_config_file(path: Path, remedy: str = NAME_A_RUN) -> tuple[str, dict[str, Any]]:
    """(identity, values) of a config.json, in the keys of this version. Raises UserError, ending
    in the remedy.

    Releases before identities were stored wrote the hash of the complete config into checkpoints.
    """
    if not path.parent.exists():
        raise UserError(
            f"{path.parent}: no such folder (from {Path.cwd()}); {where_from(path.parent)}"
        )
    if not path.exists() and (path.parent / "sweep.json").exists():
        raise UserError(f"{path.parent} holds a sweep; name one of its runs, below runs/")
    content = read_object(path, remedy)
    identity = content.pop(IDENTITY, None)
    name = identity if isinstance(identity, str) else hash_of(content)
    return name, versions.read_config(content, path)


def write_config(directory: Path, values: Mapping[str, Any], identity: str = "") -> None:
    """Writes the config.json of a run, atomically; of a model alone, which has no identity, too.

    Raises UserError.
    """
    content = {IDENTITY: identity, **values} if identity else values
    text = (
        json.dumps(versions.stamped(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    )
    atomic_write(directory / "config.json", text)


def hash_of(values: Mapping[str, Any]) -> str:
    """The first 12 hex digits of the SHA-256 of plain values."""
    canonical = json.dumps(
        values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
