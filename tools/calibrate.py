#!/usr/bin/env python3
"""How often an interval holds the truth: simulated tables of every law, as a table for docs/.

    python tools/calibrate.py                       # all, 100 simulations each: some CPU-minutes
    python tools/calibrate.py --only=rate,envelope --simulations=20
    python tools/calibrate.py --only=rate --write   # into the table of docs/, over the same rows

Coverage is the share of simulations whose 90 % interval holds the true value; width is the median
of the interval's width over the true value. A share of 100 simulations has a standard error of 3
points at 90 %.
"""

import argparse
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lm_lab.scaling.bootstrap import estimate, resample
from lm_lab.scaling.laws import fit_law
from lm_lab.scaling.optimum import optimal_params
from lm_lab.scaling.outliers import valley_outliers
from lm_lab.scaling.planted import PLANTED, SURFACE, Planted, isoflop, surface
from lm_lab.scaling.points import Points, make_points
from lm_lab.scaling.records import Estimate, Refusal
from lm_lab.scaling.surface import fit_surface, resample_surfaces
from lm_lab.scaling.valleys import fit_valleys

LEVEL, RESAMPLES = 0.9, 100
LARGEST = np.array([1e20])  # FLOPs of the largest budget of planted.isoflop
DOCS = Path(__file__).parents[1] / "docs" / "calibration.md"
Estimates = Mapping[str, Estimate]


class Case(NamedTuple):
    """A simulation: true values by name, and a function from a seed to estimates (empty:
    refused).
    """

    law: str
    table: str
    truth: Mapping[str, float]
    estimates: Callable[[int], Estimates]


def of_forms() -> Iterator[Case]:
    """Every law of scaling/forms on its planted design."""
    tables = {"clean": (0.3, 0), "noisy": (1.0, 0), "outlier": (1.0, 1)}
    for name, planted in PLANTED.items():
        for table, (share, outliers) in tables.items():
            yield Case(name, table, planted.truth, _form(name, planted, share, outliers))


def _form(name: str, planted: Planted, share: float, outliers: int) -> Callable[[int], Estimates]:
    form = importlib.import_module(f"lm_lab.scaling.forms.{name}").FORM

    def estimates(seed: int) -> Estimates:
        columns = planted.table(share * planted.noise, seed, outliers)
        fit = form.fit(columns, LEVEL, RESAMPLES, seed)
        return {} if isinstance(fit, Refusal) else {key: fit[key] for key in planted.truth}

    return estimates


def of_isoflop() -> Iterator[Case]:
    """Approaches 2 and 3 on isoFLOP tables: the exponent of N*, N* of the largest budget, and E."""
    tables = {
        "clean": partial(_points, 0.002),
        "noisy": partial(_points, 0.01),
        "outlier": partial(_points, 0.004, outliers=1),
        "off-centre": partial(_points, 0.004, off=np.log(2)),
        "saturated": partial(_points, 0.002, reducible=0.2),
    }
    E, _, _, alpha, beta = SURFACE.values()
    theta = np.log(list(SURFACE.values()))[[0, 1, 3, 2, 4]]
    theta[[2, 4]] = alpha, beta
    best = float(optimal_params(theta[None], LARGEST)[0, 0])
    truth = {"a": beta / (alpha + beta), "N*": best}
    for table, points in tables.items():
        yield Case("approach 2", table, truth, partial(_valleys, points))
        yield Case("approach 3", table, truth | {"E": E}, partial(_surface, points))


def _points(
    noise: float, seed: int, outliers: int = 0, off: float = 0.0, reducible: float = 1.0
) -> Points:
    def loss(params, tokens):
        return SURFACE["E"] + reducible * (surface(params, tokens) - SURFACE["E"])

    table = Planted({}, isoflop(off=off), loss).table(noise, seed, outliers)
    flops = 6 * table["params"] * table["tokens"]
    return make_points(table["params"], table["tokens"], flops, table["loss"])


def _valleys(points: Callable[..., Points], seed: int) -> Estimates:
    table = points(seed=seed)
    table = table.where(~valley_outliers(table))
    found = fit_valleys(table, LEVEL, RESAMPLES, np.random.default_rng(seed)).good()
    law = fit_law("params", found, LEVEL)
    if isinstance(law, Refusal) or not np.isclose(found[-1].valley.budget, LARGEST):
        return {}
    return {"a": law.law.exponent, "N*": found[-1].valley.params}


def _surface(points: Callable[..., Points], seed: int) -> Estimates:
    table = points(seed=seed)
    fit = fit_surface(table)
    if isinstance(fit, Refusal):
        return {}
    drawn = resample(table.budget, RESAMPLES, np.random.default_rng(seed))
    thetas = np.vstack([fit.theta, resample_surfaces(table, drawn, fit)])
    values = {
        "a": thetas[:, 4] / (thetas[:, 2] + thetas[:, 4]),
        "N*": optimal_params(thetas, LARGEST)[:, 0],
        "E": np.exp(thetas[:, 0]),
    }
    return {name: estimate(column[0], column[1:], LEVEL) for name, column in values.items()}


def measured(case: Case, simulations: int) -> list[str]:
    """A row of the table for each true value: how many fits, coverage, width."""
    fits = [fit for fit in (case.estimates(seed) for seed in range(simulations)) if fit]
    rows = []
    for name, truth in case.truth.items():
        ends = np.array([(fit[name].low, fit[name].high) for fit in fits], np.float64).reshape(
            -1, 2
        )
        inside = np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])) if len(ends) else np.nan
        width = np.median(ends[:, 1] - ends[:, 0]) / abs(truth) if len(ends) else np.nan
        cells = (case.law, case.table, name, f"{truth:.4g}", str(len(fits)))
        rows.append(f"| {' | '.join(cells)} | {inside:.0%} | {width:.2g} |")
    return rows


def joined(kept: Sequence[str], measured: Sequence[str]) -> list[str]:
    """The lines of a table, in which measured lines replace those of the same law, table and
    parameter, or are appended.
    """
    rows = {_key(line): line for line in kept if line.strip()}
    return list(
        (rows | {_key(line): line for text in measured for line in text.split("\n")}).values()
    )


def _key(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.split("|")[1:4])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="laws, with commas between them")
    parser.add_argument("--tables", default="", help="clean, noisy, ..., with commas between them")
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--write", action="store_true", help=f"into {DOCS.name} as well")
    options = parser.parse_args(arguments)
    laws, tables = (text.split(",") if text else [] for text in (options.only, options.tables))
    names = ("law", "table", "parameter", "truth", "fits", "coverage", "width")
    head = f"| {' | '.join(names)} |\n|{' --- |' * len(names)}"
    print(head, flush=True)
    lines = [head]
    for case in (*of_isoflop(), *of_forms()):
        if (not laws or case.law in laws) and (not tables or case.table in tables):
            rows = measured(case, options.simulations)
            print("\n".join(rows), flush=True)
            lines += rows
    if options.write:
        before, mark, after = DOCS.read_text().partition("<!-- table -->\n")
        kept = after.splitlines() if laws or tables else []
        DOCS.write_text(before + mark + "\n" + "\n".join(joined(kept, lines)) + "\n")


if __name__ == "__main__":
    main()
