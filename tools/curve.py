"""The growth of a run's metric and its limit: a figure, and the fit y = a - b / x^c.

    python tools/curve.py runs/multi30k_de --metric=eval/heldout/bleu --to=100000 \\
        --published=41.02 --figure=bleu.png

The interval resamples the residuals; it does not cover another schedule of the rate, which would
move the later evaluations.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.optimize import curve_fit

from lm_lab.report import style

LEVEL, DRAWS = 0.9, 1000


def read(run: Path, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps, values) of the evaluations that have the metric."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    pairs = [(record["step"], record[metric]) for record in records if metric in record]
    if len(pairs) < 5:
        raise SystemExit(
            f"{run}: {len(pairs)} evaluations have {metric}; a fit needs 5, set "
            "train.eval_every_steps"
        )
    return np.array(pairs, float).T[0], np.array(pairs, float).T[1]


def law(x: np.ndarray, a: float, log_b: float, c: float) -> np.ndarray:
    return a - np.exp(log_b) * (x / 1000) ** -c


def fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    start = (y.max(), np.log(max(y.max() - y[0], 1e-6)), 1.0)
    return curve_fit(
        law, x, y, start, bounds=((-np.inf, -20, 0.05), (np.inf, 20, 5)), max_nfev=20_000
    )[0]


def bands(x: np.ndarray, y: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The fit and the ends of its interval, [3 places]."""
    best = fit(x, y)
    residuals = (y - law(x, *best)) * np.sqrt(len(x) / (len(x) - 3))
    random = np.random.default_rng(0)
    drawn = [
        law(places, *fit(x, law(x, *best) + random.choice(residuals, len(x)))) for _ in range(DRAWS)
    ]
    return np.stack(
        [law(places, *best), *np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)]
    )


def draw(x: np.ndarray, y: np.ndarray, metric: str, flags: argparse.Namespace) -> None:
    places = np.geomspace(x[0], flags.to, 200)
    middle, low, high = bands(x, y, places)
    with style.applied():
        figure, (axes,) = style.panels(style.COLUMN_INCHES, 2.5)
        axes.plot(x, y, "o", color=style.APPROACH_2, label="evaluations")
        axes.plot(places, middle, color=style.APPROACH_2, linewidth=1, label=r"$a - b\,/\,x^{c}$")
        axes.fill_between(
            places, low, high, color=style.APPROACH_2, alpha=0.15, linewidth=0, label=f"{LEVEL:.0%}"
        )
        if flags.published is not None:
            axes.axhline(
                flags.published,
                color=style.HELD_OUT,
                linestyle="--",
                linewidth=1,
                label="published",
            )
        style.log_axis(axes.xaxis, *style.spread([x[0], flags.to], 0.03))
        axes.set_xlabel("steps")
        axes.set_ylabel(metric.rpartition("/")[2])
        axes.legend(loc="lower right")
        figure.savefig(flags.figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="its directory")
    parser.add_argument("--metric", required=True, help="a key of its metrics.jsonl")
    parser.add_argument("--to", type=float, required=True, help="steps that are extrapolated to")
    parser.add_argument("--published", type=float, help="a value to be drawn beside it")
    parser.add_argument("--figure", type=Path, help="where it is drawn")
    flags = parser.parse_args()
    x, y = read(flags.run, flags.metric)
    print("\n".join(f"{step:>10,.0f}  {value:.4g}" for step, value in zip(x, y)))
    middle, low, high = bands(x, y, np.array([flags.to]))[:, 0]
    print(f"{flags.to:>10,.0f}  {middle:.4g} [{low:.4g}, {high:.4g}], extrapolated")
    if flags.figure:
        draw(x, y, flags.metric, flags)


if __name__ == "__main__":
    main()
