"""Files that a setting names: a file, a folder, a glob or a list of them, in a fixed order."""

import glob
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lm_lab.data import files
from lm_lab.data.faults import fault
from lm_lab.runs import reading

Given = str | tuple[str, ...]
HIDDEN = (".", "_")  # beginnings of names that are not data, as _SUCCESS and .cache


class Found(NamedTuple):
    """The files of one entry, each with a name that is the same on every machine."""

    files: list[tuple[str, Path]]
    listed: bool  # whether they are from a folder, rather than named one by one


def locate(key: str, given: Given, takes: Callable[[Path], bool], wanted: str) -> Found:
    """The files of a setting, those of a folder and glob sorted by name. Of a folder, the files for
    which `takes` is true; `wanted` describes them in errors.

    Raises UserError for an entry without files, and for a link in a folder that leads outside.
    """
    entries = (given,) if isinstance(given, str) else given
    found = [_entry(key, entry, takes, wanted) for entry in entries]
    if not found:
        raise fault(key, "is an empty list; name a file, a folder or a glob")
    if len(found) == 1:
        return found[0]
    names = [name for part in found for name, _ in part.files]
    if len(set(names)) < len(names):  # a.txt of two folders
        found = [
            part._replace(files=[(f"{number}/{name}", path) for name, path in part.files])
            for number, part in enumerate(found)
        ]
    return Found([file for part in found for file in part.files], any(p.listed for p in found))


def _entry(key: str, entry: str, takes: Callable[[Path], bool], wanted: str) -> Found:
    root = Path(entry).expanduser()
    if "://" in entry:
        raise fault(
            key, f"{entry!r} is an address; download it first, or use the source hugging_face"
        )
    if entry and root.is_file():
        return Found([(root.name, root)], listed=False)
    if entry and root.is_dir():
        return Found(_folder(key, root, takes, wanted), listed=True)
    if glob.has_magic(entry):
        return Found(_glob(key, entry), listed=False)
    if entry and root.exists():
        raise fault(key, f"{entry!r} is a pipe or a device, not a file; write it to one first")
    raise files.absent(entry, key)


def _glob(key: str, pattern: str) -> list[tuple[str, Path]]:
    """The files that match, named by their paths from the first part of the pattern with a
    wildcard; as in a shell, names that begin with a dot only where the pattern does.
    """
    parts = Path(pattern).expanduser().parts
    fixed_parts = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:fixed_parts])
    matches = base.glob(str(Path(*parts[fixed_parts:])))
    names = [(path.relative_to(base), path) for path in matches if path.is_file()]
    asks_hidden = any(part.startswith(".") for part in parts[fixed_parts:])
    named_files = [
        (name.as_posix(), path)
        for name, path in names
        if asks_hidden or not any(part.startswith(".") for part in name.parts)
    ]
    if not named_files:
        raise fault(key, f"no file matches {pattern!r} (from {Path.cwd()}); give another pattern")
    return sorted(named_files)


def _folder(
    key: str, root: Path, takes: Callable[[Path], bool], wanted: str
) -> list[tuple[str, Path]]:
    saved = _saved(key, root)
    listed = files.walk(root, lambda name: name.startswith(HIDDEN), key) if saved is None else saved
    named_files = []
    for path in listed:
        name = path.relative_to(root).as_posix()
        if any(part.startswith(HIDDEN) for part in name.split("/")) or not takes(path):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
            raise fault(
                key,
                f"{path} is a link to {path.resolve()}, outside of the folder; name the file "
                "itself, or a glob that matches it",
            )
        named_files.append((name, path))
    if not named_files:
        raise fault(
            key, f"no file below {str(root)!r} ends in {wanted}; name another folder, or a glob"
        )
    return sorted(named_files)


def _saved(key: str, root: Path) -> list[Path] | None:
    """The files of a folder that Hugging Face datasets saved, which may keep others beside them;
    None for any other folder. Raises UserError for a name that leads outside, and for a folder of
    splits.
    """
    splits, state = root / "dataset_dict.json", root / "state.json"
    try:
        if splits.is_file():
            names = json.loads(reading.read_bytes(splits))["splits"]
            raise fault(
                key, f"{root} has the splits {', '.join(names)}; name one, as {root / names[0]}"
            )
        if not state.is_file():
            return None
        named = [
            entry["filename"] for entry in json.loads(reading.read_bytes(state))["_data_files"]
        ]
    except (OSError, ValueError, RecursionError, KeyError, TypeError, IndexError) as error:
        raise fault(
            key, f"{root} is no folder that save_to_disk wrote ({type(error).__name__}: {error})"
        ) from None
    for name in named:
        if not isinstance(name, str) or Path(name).name != name:
            raise fault(key, f"{state} names {name!r}, which is no file beside it; mend it")
    return [root / name for name in named]
