"""Writes the report of a study from its stored results: figures and one self-contained HTML page.

A kind of analysis is a file or package of lm_lab/report/analyses, or an outside module by its
dotted path (contract.py).
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lm_lab import registry
from lm_lab.report import appendix, forecasts, page, stored, style
from lm_lab.report.contract import Analysis
from lm_lab.runs.durable import atomic_write
from lm_lab.runs.reading import read_object
from lm_lab.runs.trust import check_names
from lm_lab.schema import build, suggest
from lm_lab.types import UserError

KIND = "report.analyses"


def write(directory: Path) -> Path:
    """Writes figures/, analysis.json and report.html into a sweep directory; returns its path.

    The same stored results give the same bytes. Raises UserError if there is no sweep or no
    complete run, if the kind of analysis is unknown or of a package that is not trusted
    (runs/trust.py), and if the folder cannot be written.
    """
    sweep, results, report = _analysed(directory)
    report = dataclasses.replace(report, sections=[*report.sections, *appendix.sections(sweep)])
    try:
        facts, figures = appendix.facts(sweep), directory / "figures"
        html = page.render(
            sweep.study.name,
            sweep.study.question,
            facts,
            report,
            figures,
            appendix.about(sweep),
        )
        record = json.dumps(
            {"answer": list(report.answer), **dataclasses.asdict(results)},
            indent=1,
            ensure_ascii=False,
        )
        atomic_write(directory / "analysis.json", record + "\n")
        path = directory / "report.html"
        page.remove_stale(path, html)
        # last and atomically: to a launch, a page newer than the results is up to date
        atomic_write(path, html)
    except OSError as error:
        raise UserError(
            f"{directory}: cannot write the report ({error.strerror}); check its permissions and "
            "space"
        ) from None
    return path


def answer(directory: Path) -> list[str]:
    """The paragraphs with which report.html opens, from analysis.json; [] where the report was
    written by a release that did not keep them there. Raises UserError.
    """
    file = directory / "analysis.json"
    if not file.exists():
        return []
    return read_object(file, "delete report.html, and it is written again").get("answer", [])


def figures(directory: Path) -> dict[str, Figure]:
    """The figures of the report of a sweep directory, by name. Raises UserError as `write`."""
    _, _, report = _analysed(directory)
    blocks = [block for section in report.sections for block in section.blocks]
    with style.applied():
        return {figure.name: figure.draw() for figure in blocks if isinstance(figure, page.Figure)}


def _analysed(directory: Path) -> tuple[stored.Sweep, Any, page.Report]:
    """(the stored sweep, its analysis, the report of that analysis) of a sweep directory."""
    sweep, file = stored.read(directory), directory / "sweep.json"
    check_names([("analysis.kind", sweep.study.analysis.get("kind"))], file)
    analysis, settings = read_analysis(sweep.study.analysis, str(file))
    results = analysis.analyse(sweep.rows, settings)
    report = analysis.report(results, sweep)
    report = dataclasses.replace(
        report,
        answer=[*report.answer, *forecasts.statements(sweep, analysis)],
        sections=[*report.sections, *forecasts.sections(sweep, analysis)],
    )
    return sweep, results, report


def registered(directory: Path) -> list[forecasts.Judged]:
    """The registered forecasts of a sweep directory beside the observed numbers. Raises UserError
    as `write`.
    """
    sweep, file = stored.read(directory), directory / "sweep.json"
    check_names([("analysis.kind", sweep.study.analysis.get("kind"))], file)
    analysis, _ = read_analysis(sweep.study.analysis, str(file))
    return forecasts.judge(sweep, analysis)


def read_analysis(spec: Mapping[str, Any], where: str) -> tuple[Analysis[Any, Any], Any]:
    """The kind and the settings of a study's "analysis". Raises UserError, which names `where`."""
    name, place = spec.get("kind"), f"{where}: analysis.kind"
    if not isinstance(name, str):
        raise UserError(f"{place} is missing; {suggest('', registry.names(KIND))}")
    analysis = registry.load_value(KIND, "ANALYSIS", Analysis, name, place)
    settings = {key: value for key, value in spec.items() if key != "kind"}
    return analysis, build(analysis.Config, settings, f"{where}: analysis")
