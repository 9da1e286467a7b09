"""A study is a question: a base config, a sweep over it, and the analysis that answers it. One file
in experiments/.
"""

import dataclasses
import hashlib
import importlib.util
import json
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from lm_lab import shipped
from lm_lab.schema import suggest
from lm_lab.sweeps.algebra import Sweep
from lm_lab.sweeps.search import Search
from lm_lab.types import UserError


@dataclasses.dataclass(frozen=True)
class Study:
    """What a study file's `study()` returns. Raises UserError for an empty sweep or an analysis
    that is no plain data.

    name       short, stays the same for the life of a sweep directory
    question   one sentence, printed at the top of the report
    base       the config that every run starts from
    sweep      the points: flat dicts of dotted overrides (see algebra.py)
    analysis   {"kind": "isoflop", ...}: settings of that kind of analysis, as plain values
    search     points that a searcher proposes from the results so far, after those of the sweep,
               which then may be empty (search.py)

    >>> seeds = [{"seed": 0}, {"seed": 1}]
    >>> base = lm_lab.load_config(tiny)
    >>> lm_lab.Study("seeds", "How large is the noise?", base, seeds, {"kind": "isoflop"}).sweep
    [{'seed': 0}, {'seed': 1}]
    """

    name: str
    question: str
    base: ConfigDict
    sweep: Sweep
    analysis: Mapping[str, Any]
    search: Search | None = None

    def __post_init__(self):
        wanted = {
            "name": (str, "text"),
            "question": (str, "text"),
            "base": (ConfigDict, "a ConfigDict"),
        }
        for field, (kind, words) in (wanted | {"analysis": (Mapping, "a dict")}).items():
            if not isinstance(value := getattr(self, field), kind) or value == "":
                raise UserError(f"Study: {field} must be {words}, not {value!r}")
        if not self.sweep and self.search is None:
            raise UserError(
                f"study {self.name!r}: its sweep has no points; give at least one (an empty "
                "dict is a run)"
            )
        if not isinstance(self.sweep, list) or not all(
            isinstance(point, dict) for point in self.sweep
        ):
            raise UserError(
                f"study {self.name!r}: its sweep must be a list of dicts, as of "
                "lm_lab.sweeps.algebra"
            )
        if "kind" not in self.analysis:
            raise UserError(f"study {self.name!r}: its analysis needs a 'kind', such as 'isoflop'")
        try:
            json.dumps([self.analysis, self.sweep], allow_nan=False)
        except (TypeError, ValueError) as error:
            message = (
                f"study {self.name!r}: its sweep and analysis must be plain numbers, "
                "text, lists and dicts"
            )
            raise UserError(f"{message} ({error})") from None


def load(path: str | Path) -> Study:
    """The study of a file: `experiments/isoflop_demo`, with or without .py, defines `study() ->
    Study`. "FILE:text" calls study("text"). lm_lab's own studies are found from any folder.

    Raises UserError where the file or the function is missing, or where running it fails.
    """
    name, _, argument = str(path).partition(":")
    file = _find(Path(name))
    module = _import(file)
    make = vars(module).get("study")
    if not callable(make):
        functions = [
            name
            for name, value in vars(module).items()
            if callable(value) and not name.startswith("_")
        ]
        raise UserError(f"{file} has no function study(); {suggest('study', functions)}")
    made = _run(file, make, *([argument] if argument else []))
    if not isinstance(made, Study):
        raise UserError(
            f"{file}: study() must return a lm_lab.sweeps.study.Study, not {type(made).__name__}"
        )
    return made


def _find(path: Path) -> Path:
    file = path if path.suffix == ".py" or not path.name else path.with_name(path.name + ".py")
    if (found := shipped.find(file)).is_file():
        return found
    if not file.parent.is_dir():
        raise UserError(f"no study at {path}: the folder {file.parent} does not exist")
    studies = [other.stem for other in file.parent.glob("*.py") if not other.stem.startswith("_")]
    raise UserError(f"no study at {path}; {suggest(file.stem, studies)} (in {file.parent})")


def _import(file: Path) -> ModuleType:
    # The module's name is unique to the path: two studies with equal file names must not shadow
    # each other, nor an installed module.
    name = f"_study_{file.stem}_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses in the file look themselves up here
    _run(file, spec.loader.exec_module, module)
    return module


def _run(file: Path, function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{file}{_line(file, error)}: {type(error).__name__}: {error}"
            + ("; put its folder on PYTHONPATH" if isinstance(error, ModuleNotFoundError) else "")
        ) from error


def _line(file: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return ""  # its text already names the line
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == file.resolve()]
    return f":{lines[-1]}" if lines else ""
