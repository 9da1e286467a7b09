"""Writes the report of a study from its stored results: figures and one self-contained HTML page.

A kind of analysis is a package in this one (sweep.json's "analysis": {"kind": "isoflop"} is
lm_lab.report.isoflop) with three public names: Settings, the other keys of the "analysis";
analyse(rows, settings) -> a frozen dataclass of results; report(results, sweep) -> page.Report. A
fourth is optional: check(settings, rows) raises UserError for planned runs that could not be
analysed; a launch calls it before any run begins.
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
from lm_lab.runs.durable import atomic_write
from lm_lab.runs.trust import check_names
from lm_lab.schema import build, suggest
from lm_lab.types import UserError


def write(directory: Path) -> Path:
    """Writes figures/, analysis.json and report.html into a sweep directory; returns its path.

    The same stored results give the same bytes. Raises UserError if there is no sweep or no
    complete run, if the kind of analysis is unknown or of a package that is not trusted
    (runs/trust.py), and if the folder cannot be written.
    """
    sweep, file = stored.read(directory), directory / "sweep.json"
    check_names([("analysis.kind", sweep.study.analysis.get("kind"))], file)
    kind, settings = read_analysis(sweep.study.analysis, str(file))
    analysis = kind.analyse(sweep.rows, settings)
    report = kind.report(analysis, sweep)
    report = dataclasses.replace(report, sections=[*report.sections, *appendix.sections(sweep)])
    try:
        facts, figures = appendix.facts(sweep), directory / "figures"
        html = page.render(sweep.study.name, sweep.study.question, facts, report, figures)
        record = json.dumps(dataclasses.asdict(analysis), indent=1, ensure_ascii=False)
        atomic_write(directory / "analysis.json", record + "\n")
        path = directory / "report.html"
        atomic_write(
            path, html
        )  # last and atomically: to a launch, a page newer than the results is up to date
    except OSError as error:
        raise UserError(
            f"{directory}: cannot write the report ({error.strerror}); check its permissions and "
            "space"
        ) from None
    return path


def read_analysis(spec: Mapping[str, Any], where: str) -> tuple[ModuleType, Any]:
    """The module and settings of a study's "analysis". Raises UserError, which names `where`."""
    kind = _kind(spec.get("kind"), f"{where}: analysis.kind")
    return kind, build(
        kind.Settings,
        {key: value for key, value in spec.items() if key != "kind"},
        f"{where}: analysis",
    )


def _kind(name: object, where: str) -> ModuleType:
    """The module of a kind of analysis: a package here, or an outside module by its dotted path."""
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
