"""Published data sets that configs read, each a folder of $LM_LAB_DATA (default: ./data)."""

import os
from pathlib import Path

ORIGINS = {
    "multi30k": "github.com/multi30k/dataset, data/task1",
    "nsmc": "github.com/e9t/nsmc",
    "scan": "github.com/brendenlake/SCAN",
    "sigmorphon2020_g2p": "github.com/sigmorphon/2020, task1/data",
    "tinyshakespeare": "github.com/karpathy/char-rnn, data/tinyshakespeare",
}


def file(name: str, *parts: str) -> str:
    """The path of a data set's file; for a .gz of which only the
    unpacked file exists, that file's path.
    """
    path = _folder() / Path(name, *parts)
    plain = path.with_suffix("")
    return str(plain if path.suffix == ".gz" and not path.exists() and plain.exists() else path)


def origin(path: Path) -> str:
    """The end of an error about a missing path: where the published data set comes from, or ""."""
    folder = _folder()
    name = (
        path.relative_to(folder).parts[0]
        if path.is_relative_to(folder) and path != folder
        else None
    )
    if name not in ORIGINS:
        return ""
    return (
        f", from {ORIGINS[name]}, or set LM_LAB_DATA to the folder that has "
        f"{path.relative_to(folder)}"
    )


def _folder() -> Path:
    return Path(os.environ.get("LM_LAB_DATA") or "data").expanduser()
