"""Registers a forecast of a study's held-out runs before any of them begins.

The runs that the forecast is fitted to come first; sweep.json then records what they predict; only
then may the held-out runs start. A launch that is killed at any point goes on from what sweep.json
and the runs' folders say.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from lm_lab.runs.forecasts import Forecast, Registered, hash_of_results, sealed
from lm_lab.runs.status import FINISHED
from lm_lab.runs.sweep import Planned, Row, read_sweep, run_directory, write_sweep
from lm_lab.sweeps.results import rows_of


class Forecasting(NamedTuple):
    """What a launch must know of a study's analysis to register its forecast."""

    held_out: Callable[[Row], bool]
    # (rows of the fitted runs, rows of the held-out runs with their sizes and no results)
    forecast: Callable[[Sequence[Row], Sequence[Row]], Forecast]
    # by name, the columns of a run that has not begun: params, tokens, flops, ...
    sizes: Callable[[Sequence[Planned]], Mapping[str, Row]]


def held_out(
    directory: Path, planned: Sequence[Planned], forecasting: Forecasting | None
) -> list[Planned]:
    """The runs that the analysis holds out."""
    if forecasting is None:
        return []
    names = {row["name"] for row in rows_of(planned, directory) if forecasting.held_out(row)}
    return [run for run in planned if run.name in names]


def must_wait(directory: Path, held: Sequence[Planned], forecasting: Forecasting | None) -> bool:
    """Whether held-out runs must wait for their forecast: none has begun, and none is registered.

    Once one has begun, as in the sweep of a release that registered nothing, or one that the study
    has no more, no forecast can come first, and the report says that none did.
    """
    sweep = read_sweep(directory)
    every = [*held, *held_out(directory, sweep.former, forecasting)]
    registered = {name for each in sweep.forecasts for name in each.held_out}
    begun = (run.name in registered or run_directory(directory, run.name).exists() for run in every)
    return bool(held) and not any(begun)


def register(
    directory: Path,
    planned: Sequence[Planned],
    held: Sequence[Planned],
    forecasting: Forecasting,
    tried: set[str],
) -> str:
    """Writes the forecast into sweep.json; returns why not, "" if it did.

    It needs every fitted run to have ended. One that failed holds it back until a further launch
    has tried it again (`tried`: the runs that had failed before this launch); one that fails twice
    is left out, and the forecast names it. Raises UserError.
    """
    names = {run.name for run in held}
    rows = rows_of(planned, directory)
    fitted = [row for row in rows if row["name"] not in names]
    failed = [row["name"] for row in fitted if row["status"] == "failed"]
    if untried := [name for name in failed if name not in tried]:
        return (
            f"{len(untried)} of the runs that the forecast is fitted to failed ({untried[0]}); "
            f"the {len(held)} held-out runs wait for it: launch again to retry them once more "
            "and go on without those that fail again"
        )
    ended = (*FINISHED, "failed")
    busy = [row["name"] for row in fitted if row["status"] not in ended]
    if busy:
        return (
            f"{busy[0]}, to which the forecast is fitted, has not ended; the {len(held)} held-out "
            "runs wait for it: launch again when it has"
        )
    used = [row for row in fitted if row["name"] not in failed]
    sizes = forecasting.sizes(held)
    sized = [row | sizes.get(row["name"], {}) for row in rows if row["name"] in names]
    sweep = read_sweep(directory)
    registered = Registered(
        forecast=forecasting.forecast(used, sized),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        analysis=sweep.analysis,
        fitted=[row["name"] for row in used],
        left_out=failed,
        held_out=[run.name for run in held],
        results_sha256=hash_of_results(used, sweep.analysis),
    )
    forecasts = [*sweep.forecasts, sealed(registered)]
    write_sweep(directory, dataclasses.replace(sweep, forecasts=forecasts))
    return ""


def describe(forecast: Forecast) -> str:
    """One line: "lowest loss at 3e+12 FLOPs: 1.454 [1.425, 1.481], by the surface"."""
    if forecast.predicted is None:
        return f"{forecast.target}: no prediction ({forecast.refusal})"
    span = (
        ""
        if forecast.low is None or forecast.high is None
        else f" [{forecast.low:.4g}, {forecast.high:.4g}]"
    )
    return f"{forecast.target}: {forecast.predicted:.4g}{span}, by the {forecast.predictor}"
