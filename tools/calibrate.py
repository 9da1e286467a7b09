#!/usr/bin/env python3
"""How often an interval holds the truth: simulated tables of every law, as a table for docs/.

    python tools/calibrate.py                       # all, 100 simulations each: some CPU-minutes
    python tools/calibrate.py --only=rate,envelope --simulations=20

Coverage is the share of simulations whose 90 % interval holds the true value; width is the median
of the interval's width over the true value. A share of 100 simulations has a standard error of 3
points at 90 %.
"""

import argparse
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from lm_lab.scaling.analysis import analyse_isoflop
from lm_lab.scaling.planted import PLANTED, SURFACE, Planted, isoflop, surface
from lm_lab.scaling.points import make_points
from lm_lab.scaling.records import Estimate, IsoflopAnalysis, Method, Refusal

LEVEL, RESAMPLES = 0.9, 100
DOCS = Path(__file__).parents[1] / "docs" / "calibration.md"
Estimates = Mapping[str, Estimate]


class Case(NamedTuple):
    """What is simulated: truths by name, and the estimates of a seed (empty: refused)."""

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
        "clean": {"noise": 0.002},
        "noisy": {"noise": 0.01},
        "outlier": {"noise": 0.004, "outliers": 1},
        "off-centre": {"noise": 0.004, "off": np.log(2)},
        "saturated": {"noise": 0.002, "reducible": 0.2},
    }
    exponent = SURFACE["beta"] / (SURFACE["alpha"] + SURFACE["beta"])
    for table, how in tables.items():
        for method in get_args(Method):
            truth = {"a": exponent, "N*": _optimum()}
            yield Case(method, table, truth, _isoflop(method, **how))


def _optimum() -> float:
    """N* of Besiroglu's surface at 1e20 FLOPs, C = 6 N D."""
    E, A, B, alpha, beta = SURFACE.values()
    del E
    return float((alpha * A / (beta * B) * (1e20 / 6) ** beta) ** (1 / (alpha + beta)))


def _isoflop(
    method: Method, noise: float, outliers: int = 0, off: float = 0.0, reducible: float = 1.0
) -> Callable[[int], Estimates]:
    def estimates(seed: int) -> Estimates:
        frontier = _analysed(noise, outliers, off, reducible, seed).frontier(method)
        if frontier is None:
            return {}
        ends = (frontier.params.value, frontier.params.low, frontier.params.high)
        logs = [np.log(np.array(values, np.float64)) for values in ends]
        grid = np.log(frontier.params.flops)
        at = [float(np.exp(np.interp(np.log(1e20), grid, log))) for log in logs]
        return {"a": frontier.exponent_params, "N*": Estimate(*at)}

    return estimates


@cache  # both approaches are of one analysis
def _analysed(
    noise: float, outliers: int, off: float, reducible: float, seed: int
) -> IsoflopAnalysis:
    def loss(params, tokens):
        return SURFACE["E"] + reducible * (surface(params, tokens) - SURFACE["E"])

    table = Planted({}, isoflop(off=off), loss).table(noise, seed, outliers)
    flops = 6 * table["params"] * table["tokens"]
    points = make_points(table["params"], table["tokens"], flops, table["loss"])
    return analyse_isoflop(points, level=LEVEL, resamples=RESAMPLES, seed=seed)


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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="laws, with commas between them")
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--write", action="store_true", help=f"into {DOCS.name} as well")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",") if options.only else None
    names = ("law", "table", "parameter", "truth", "fits", "coverage", "width")
    head = f"| {' | '.join(names)} |\n|{' --- |' * len(names)}"
    print(head, flush=True)
    lines = [head]
    for case in (*of_isoflop(), *of_forms()):
        if chosen is None or case.law in chosen:
            rows = measured(case, options.simulations)
            print("\n".join(rows), flush=True)
            lines += rows
    if options.write:
        text = DOCS.read_text()
        before, mark, _ = text.partition("<!-- table -->\n")
        DOCS.write_text(before + mark + "\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
