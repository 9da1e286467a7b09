"""Registered forecasts in a report: whether each came before the runs, and whether it held."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_lab.report import formatting
from lm_lab.report.contract import Analysis
from lm_lab.report.page import Block, Section, Table, Terms
from lm_lab.report.stored import Row, Sweep
from lm_lab.runs.forecasts import Registered, hash_of_results
from lm_lab.scaling.records import Estimate
from lm_lab.schema import build
from lm_lab.types import UserError

ENDED = ("complete", "diverged", "failed")
HEADER = ("study", "registered", "of", "predicted", "observed", "inside")


@dataclass(frozen=True)
class Judged:
    """A registered forecast beside the observed number of the held-out runs."""

    registered: Registered
    observed: (
        float | None
    )  # None: the held-out runs are not complete, or the analysis cannot read it
    doubts: tuple[str, ...]  # reasons why the comparison is not what was registered

    @property
    def inside(self) -> bool | None:
        """Whether the observed number lies in the interval; None where either is missing."""
        return None if self.observed is None else self.registered.forecast.covers(self.observed)


def judge(sweep: Sweep, analysis: Analysis[Any, Any]) -> list[Judged]:
    """Every registered forecast of a sweep, oldest first."""
    return [_judge(sweep, registered, analysis) for registered in sweep.study.forecasts]


def _judge(sweep: Sweep, registered: Registered, analysis: Analysis[Any, Any]) -> Judged:
    by_name = {row["name"]: row for row in sweep.rows}
    held_out_runs = [by_name[name] for name in registered.held_out if name in by_name]
    doubts = _doubts(sweep, registered, by_name)
    missing = [row for row in held_out_runs if row.get("status") not in ENDED]
    if missing or analysis.forecaster is None:
        return Judged(registered, None, doubts)
    settings = {key: value for key, value in registered.analysis.items() if key != "kind"}
    try:
        config = build(analysis.Config, settings, "registered analysis")
    except UserError as error:  # a setting that this release no longer has
        return Judged(registered, None, (*doubts, str(error)))
    return Judged(registered, analysis.forecaster.observe(held_out_runs, config), doubts)


def _doubts(sweep: Sweep, registered: Registered, by_name: Mapping[str, Row]) -> tuple[str, ...]:
    doubts = []
    if not registered.is_intact:
        doubts.append("the record was edited after it was registered: its seal does not fit")
    current, stored = sweep.study.analysis, registered.analysis
    changed = [key for key in {**stored, **current} if stored.get(key) != current.get(key)]
    if changed:
        changes = [f"{key} was {stored.get(key)}, is {current.get(key)}" for key in sorted(changed)]
        doubts.append(f"the analysis was changed after it was registered ({'; '.join(changes)})")
    fitted = [by_name[name] for name in registered.fitted if name in by_name]
    if hash_of_results(fitted, registered.analysis) != registered.results_sha256:
        doubts.append("the results that it was fitted to are no longer those of its hash")
    if registered.left_out:
        runs = formatting.many(len(registered.left_out), "run")
        doubts.append(f"it was fitted without {runs} that had failed")
    held_out = [
        by_name.get(name, {}).get("status", "left the study") for name in registered.held_out
    ]
    for why in ("failed", "left the study"):
        if count := held_out.count(why):
            runs = formatting.many(len(held_out), "held-out run")
            doubts.append(f"{count} of {runs} {why}, and the others alone are compared")
    return tuple(doubts)


def statements(sweep: Sweep, analysis: Analysis[Any, Any]) -> list[str]:
    """A paragraph a forecast; one that none was registered, where the study holds runs out."""
    judged = judge(sweep, analysis)
    if judged:
        return [_statement(forecast) for forecast in judged]
    if analysis.forecaster is None:
        return []
    settings = {key: value for key, value in sweep.study.analysis.items() if key != "kind"}
    config = build(analysis.Config, settings, "analysis")
    if not any(analysis.forecaster.held_out(config, row) for row in sweep.rows):
        return []
    return [
        "The prediction of the held-out runs was not registered before they began: nothing but "
        "the study's word shows that it came first."
    ]


def _statement(judged: Judged) -> str:
    registered, forecast = judged.registered, judged.registered.forecast
    day = f"{registered.date[:10]}, {registered.date[11:16]} UTC"
    opening = f"Registered on {day}, before any held-out run began"
    if forecast.predicted is None:
        text = f"{opening}: no prediction of the {forecast.target} ({forecast.refusal})"
    else:
        runs = formatting.many(len(registered.fitted), "run")
        text = (
            f"{opening}, by the {forecast.predictor} fitted to {runs} (hash "
            f"{registered.results_sha256[:12]}): {forecast.target} = {_predicted(registered)}. "
            f"{_outcome(judged)}"
        )
    doubts = f" But {'; '.join(judged.doubts)}." if judged.doubts else ""
    return f"{formatting.readable(text)}.{formatting.readable(doubts)}"


def _outcome(judged: Judged) -> str:
    if judged.observed is None:
        return "The held-out runs have not shown it yet"
    place = {True: "inside the interval", False: "outside the interval", None: "no interval"}
    return f"Observed: {judged.observed:.4g}, {place[judged.inside]}"


def _predicted(registered: Registered) -> str:
    forecast = registered.forecast
    if forecast.predicted is None:
        return "none"
    of = Estimate(forecast.predicted, forecast.low, forecast.high)
    return formatting.estimate(of)


def sections(sweep: Sweep, analysis: Analysis[Any, Any]) -> list[Section]:
    """The registered forecasts in full, if there are any."""
    judged = judge(sweep, analysis)
    if not judged:
        return []
    text = (
        "sweep.json holds these since before the first held-out run began. The results hash is the "
        "SHA-256 of the fitted runs' results and the analysis; the seal that of the whole record."
    )
    blocks: list[Block] = [text, table([(sweep.study.name, forecast) for forecast in judged])]
    return [
        Section("Registered forecasts", [*blocks, *(_details(forecast) for forecast in judged)])
    ]


def table(judged: Sequence[tuple[str, Judged]]) -> Table:
    """The table of (study, forecast): predicted and observed numbers."""
    return Table(HEADER, lines(judged))


def lines(judged: Sequence[tuple[str, Judged]]) -> list[list[str]]:
    """The cells of `table`."""
    inside = {True: "yes", False: "no", None: "-"}
    return [
        [
            study,
            forecast.registered.date[:10],
            formatting.readable(forecast.registered.forecast.target),
            _predicted(forecast.registered),
            "-" if forecast.observed is None else f"{forecast.observed:.4g}",
            inside[forecast.inside] + (" (doubted)" if forecast.doubts else ""),
        ]
        for study, forecast in judged
    ]


def _details(judged: Judged) -> Terms:
    registered, forecast = judged.registered, judged.registered.forecast
    law = ", ".join(f"{name} = {value:.6g}" for name, value in forecast.law.items())
    settings = ", ".join(f"{key} = {_shown(value)}" for key, value in registered.analysis.items())
    pairs = [("date", registered.date), ("predictor", forecast.predictor), ("law", law or "none")]
    pairs += [("analysis", settings), ("results hash", registered.results_sha256)]
    return Terms([*pairs, ("seal", registered.seal)])


def _shown(value: Any) -> str:
    return formatting.readable(f"{value:g}") if isinstance(value, float) else str(value)


def coverage(judged: Sequence[Judged]) -> str:
    """How many forecasts held: "3 of 4 observed numbers lie in their 90 % intervals"."""
    observed = [forecast for forecast in judged if forecast.inside is not None]
    if not observed:
        return "no registered forecast has been observed yet"
    inside = sum(bool(forecast.inside) for forecast in observed)
    levels = sorted({forecast.registered.forecast.level for forecast in observed})
    shown = formatting.listed([formatting.percent(level) for level in levels])
    expected = sum(forecast.registered.forecast.level for forecast in observed)
    return (
        f"{inside} of {len(observed)} registered forecasts held: the observed number lies in the "
        f"{shown} interval ({expected:.1f} expected)"
    )
