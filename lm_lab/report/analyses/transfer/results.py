"""The loss that is lost at a large size by the rate that is best at a small one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lm_lab.report.stored import Row, sharing
from lm_lab.scaling.bootstrap import estimate
from lm_lab.scaling.rates import optimum
from lm_lab.scaling.records import Estimate
from lm_lab.schema import setting
from lm_lab.types import UserError

Array = np.ndarray
RATE = "optimizer.peak_rate"
RESAMPLES = 2000


@dataclass(frozen=True)
class Settings:
    """The keys of a study's "analysis", other than its kind. Raises UserError for wrong forms."""

    models: dict = setting("what is compared: name -> the overrides that all its runs share")
    small: dict = setting("the overrides of the small size, as {'model.width': 32}")
    large: dict = setting(
        "the overrides of the large sizes, by size and parametrisation, as "
        "{'256 wide': {'standard': {'model.width': 256}, ...}, ...}"
    )
    metric: str = setting("the column of results.csv that is reported, lower being better", "loss")
    chosen_by: str = setting("the column by which rates are chosen", "selection_loss")
    level: float = setting("probability of the intervals", 0.9, low=0.5, high=0.999)

    def __post_init__(self) -> None:
        nested = [(f"large.{size}", overrides) for size, overrides in self.large.items()]
        for name, given in [("models", self.models), *nested]:
            if not isinstance(given, Mapping) or not all(
                isinstance(overrides, Mapping) for overrides in given.values()
            ):
                raise UserError(f'{name} must hold overrides by name: {{"name": {{"key": value}}}}')


@dataclass(frozen=True)
class Curve:
    """The losses of one model at one size over peak rates, means over seeds."""

    rates: tuple[float, ...]  # ascending
    losses: tuple[float, ...]  # means; inf where a run diverged
    best_rate: Estimate
    best_loss: Estimate  # at the best rate of this size
    at_edge: bool  # whether the best rate is an end of the grid
    seeds: int
    runs: tuple[tuple[str, ...], ...]  # names, by rate


@dataclass(frozen=True)
class Transfer:
    """One model, from the small size to a large one, in one parametrisation."""

    model: str
    size: str
    parametrisation: str
    small: Curve
    large: Curve
    lost: Estimate  # loss at the small size's best rate over that at the large one's own, less 1
    shift: Estimate  # the large size's best rate over the small one's
    beyond: bool  # whether the small size's best rate is outside of the finite losses of the large


@dataclass(frozen=True)
class Results:
    """All transfers."""

    settings: Settings
    transfers: tuple[Transfer, ...]
    absent: tuple[str, ...] = ()  # transfers without complete runs


@dataclass(frozen=True)
class _Losses:
    """The runs of one model at one size: f64[rates, seeds] of both texts, with resamples."""

    rates: Array
    choice: Array
    reported: Array
    runs: tuple[tuple[str, ...], ...]

    def draws(self, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
        """Means over the seeds of both texts, first those of the runs, then resampled: a seed keeps
        its losses at all rates. Deviations are widened by sqrt(n / (n - 1)), as n seeds lie too
        near their own mean.
        """
        seeds = self.choice.shape[1]
        wide = np.sqrt(seeds / max(seeds - 1, 1))
        with np.errstate(invalid="ignore"):
            means = [losses.mean(1) for losses in (self.choice, self.reported)]
            off = [
                np.nan_to_num(wide * (losses - mean[:, None]), nan=0.0, posinf=0.0, neginf=0.0)
                for losses, mean in zip((self.choice, self.reported), means)
            ]
        yield means[0], means[1]
        for _ in range(RESAMPLES if seeds > 1 else 0):
            drawn = rng.integers(seeds, size=seeds)
            first, second = (mean + of[:, drawn].mean(1) for mean, of in zip(means, off))
            yield first, second


def check(settings: Settings, rows: Sequence[Row]) -> None:
    """Raises UserError where a size of a model has less than three planned rates."""
    for model, size, parametrisation, small, large in _cells(settings):
        for name, overrides in (("the small size", small), (f"{size}, {parametrisation}", large)):
            rates = {row.get(RATE) for row in sharing(overrides, rows)} - {None}
            if len(rates) < 3:
                raise UserError(
                    f"{model}, {name}: {len(rates)} values of {RATE} are planned, and a best rate "
                    "needs 3; mend the sweep or analysis"
                )


def analyse(rows: Sequence[Row], settings: Settings) -> Results:
    """All transfers that have runs. Raises UserError where no transfer has them."""
    transfers, absent = [], []
    for model, size, parametrisation, small, large in _cells(settings):
        names = (model, size, parametrisation)
        first, second = (_losses(sharing(each, rows), settings) for each in (small, large))
        if first is None or second is None:
            absent.append(", ".join(names))
        else:
            transfers.append(_transfer(names, first, second, settings.level))
    if not transfers:
        raise UserError("no size has complete runs at three rates; finish the sweep")
    return Results(settings, tuple(transfers), tuple(absent))


def _cells(settings: Settings) -> Iterator[tuple[str, str, str, dict, dict]]:
    """(model, size, parametrisation, overrides of the small size, overrides of the large one)."""
    for model, shared in settings.models.items():
        for size, parametrisations in settings.large.items():
            for name, overrides in parametrisations.items():
                yield model, size, name, {**shared, **settings.small}, {**shared, **overrides}


def _losses(rows: Sequence[Row], settings: Settings) -> _Losses | None:
    """The losses of runs that ended; one that diverged has an infinite loss. None below 3 rates.
    Seeds that not all rates have are left out.
    """
    ended = [row for row in rows if row.get("status") in ("complete", "diverged")]
    by_rate: dict[float, dict[object, Row]] = {}
    for row in ended:
        by_rate.setdefault(float(row[RATE]), {})[row.get("seed")] = row
    if len(by_rate) < 3:
        return None
    seeds = sorted(set.intersection(*(set(runs) for runs in by_rate.values())), key=str)
    rates = sorted(by_rate)
    if not seeds:
        return None

    def table(column: str) -> Array:
        values = [[_number(by_rate[rate][seed].get(column)) for seed in seeds] for rate in rates]
        return np.array(values, np.float64)

    names = tuple(tuple(str(by_rate[rate][seed]["name"]) for seed in seeds) for rate in rates)
    return _Losses(np.array(rates), table(settings.chosen_by), table(settings.metric), names)


def _number(value: object) -> float:
    finite = isinstance(value, int | float) and np.isfinite(value)
    return float(value) if finite else np.inf  # type: ignore[arg-type]


def _transfer(
    names: tuple[str, str, str], small: _Losses, large: _Losses, level: float
) -> Transfer:
    # a stream of its own for each size, so that the two are resampled independently
    ways = [each.draws(np.random.default_rng(index)) for index, each in enumerate((small, large))]
    drawn = []
    for (small_choice, small_loss), (choice, loss) in zip(*ways):
        rate, small_best = _best(small.rates, small_choice, small_loss)
        own_rate, own_best = _best(large.rates, choice, loss)
        drawn.append((rate, small_best, own_rate, own_best, _at(large.rates, loss, rate)))
    rates, small_bests, own_rates, own_bests, carried = np.array(drawn).T
    with np.errstate(invalid="ignore"):
        lost = carried / own_bests - 1

    def of(values: Array) -> Estimate:
        finite = values[np.isfinite(values)]
        has_draws = np.isfinite(values[0]) and len(finite) > 1
        return estimate(float(values[0]), finite[1:] if has_draws else None, level)

    return Transfer(
        *names,
        _curve(small, of(rates), of(small_bests)),
        _curve(large, of(own_rates), of(own_bests)),
        of(lost),
        of(own_rates / rates),
        not np.isfinite(carried[0]),
    )


def _curve(losses: _Losses, best_rate: Estimate, best_loss: Estimate) -> Curve:
    means = losses.reported.mean(1)
    best = int(np.argmin(losses.choice.mean(1)))
    return Curve(
        tuple(losses.rates.tolist()),
        tuple(means.tolist()),
        best_rate,
        best_loss,
        best in (0, len(losses.rates) - 1),
        losses.choice.shape[1],
        losses.runs,
    )


def _best(rates: Array, choice: Array, losses: Array) -> tuple[float, float]:
    """(best rate by `choice`, the loss there by the other text)."""
    rate, weights, _ = optimum(rates, choice)
    used = weights != 0
    return rate, float(weights[used] @ losses[used])


def _at(rates: Array, losses: Array, rate: float) -> float:
    """The loss at a rate between those tried: by the parabola in the log of the rate through the
    nearest rate and its neighbours, and where one of these diverged, by a straight line.
    """
    x = np.log(rates)
    at = float(np.log(rate))
    middle = int(np.clip(np.argmin(abs(x - at)), 1, len(x) - 2))
    near = np.arange(middle - 1, middle + 2)
    if np.isfinite(losses[near]).all():
        return float(np.polynomial.Polynomial.fit(x[near], losses[near], 2)(at))
    return float(np.interp(at, x, losses))
