"""The written answer of a study: figures and one self-contained HTML page, from the stored results
alone.

A kind of analysis is a package in this one (sweep.json's "analysis": {"kind": "isoflop"} is
lm_lab.report.isoflop) with three public names: Settings, what else the spec may say; analyse(rows,
settings) -> a frozen dataclass of results; report(analysis, sweep) -> page.Report. It may have a
fourth, check(settings, rows), which raises UserError for runs that, once complete, could not be
analysed; the launch asks it before any begins.
"""

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from lm_lab.report import appendix, page, stored
from lm_lab.runs.files import atomic_write
from lm_lab.schema import build, suggest
from lm_lab.train.trust import check_names
from lm_lab.types import UserError


def write(directory: Path) -> Path:
    """Write figures/, analysis.json and report.html into a sweep directory; the path of the page.

    The same stored results give the same bytes. Raises UserError where there is no sweep, no
    complete run, an unknown kind of analysis, one of a package that is not trusted
    (train/trust.py), or a folder that cannot be written.
    """
    sweep, file = stored.read(directory), directory / "sweep.json"
    check_names([("analysis.kind", (sweep.study.get("analysis") or {}).get("kind"))], file)
    kind, settings = read_analysis(sweep.study.get("analysis") or {}, str(file))
    analysis = kind.analyse(sweep.rows, settings)
    report = kind.report(analysis, sweep)
    report = dataclasses.replace(report, sections=[*report.sections, *appendix.sections(sweep)])
    name, question = (
        str(sweep.study.get("name", directory.name)),
        str(sweep.study.get("question", "")),
    )
    try:
        html = page.render(name, question, appendix.facts(sweep), report, directory / "figures")
        record = json.dumps(dataclasses.asdict(analysis), indent=1, ensure_ascii=False)
        atomic_write(directory / "analysis.json", record + "\n")
        path = directory / "report.html"
        atomic_write(
            path, html
        )  # last, and whole: a launch takes a page that is newer than the results for theirs
    except OSError as error:
        raise UserError(
            f"{directory}: cannot write the report ({error.strerror}); check its permissions "
            "and space"
        ) from None
    return path


def read_analysis(spec: Mapping[str, Any], where: str) -> tuple[ModuleType, Any]:
    """The module and the settings of a study's "analysis"; `where` it stands is named in errors.
    Raises UserError.
    """
    kind = _kind(spec.get("kind"), f"{where}: analysis.kind")
    return kind, build(
        kind.Settings,
        {key: value for key, value in spec.items() if key != "kind"},
        f"{where}: analysis",
    )


def _kind(name: object, where: str) -> ModuleType:
    """The module of a kind of analysis: a package in this one, or the dotted path of an outside
    module.
    """
    kinds = [module.name for module in pkgutil.iter_modules(__path__) if module.ispkg]
    if not isinstance(name, str):
        raise UserError(f"{where} is missing; {suggest('', kinds)}")
    if name in kinds:
        return importlib.import_module(f"lm_lab.report.{name}")
    if "." not in name:
        raise UserError(f"{where}: no analysis named {name!r}; {suggest(name, kinds)}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{where}: cannot import {name!r} ({error}); put its package on PYTHONPATH"
        ) from None
