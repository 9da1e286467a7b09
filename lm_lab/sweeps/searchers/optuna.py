"""Optuna's samplers and pruners (1907.10902), whose state is made anew from the recorded trials.

A trial whose point is outside the space, as after the space was changed, is left out.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lm_lab.schema import setting
from lm_lab.sweeps.algebra import Choice, Numbers, Point, Spread
from lm_lab.sweeps.search import Asked, Searcher, Trial
from lm_lab.types import UserError

if TYPE_CHECKING:
    import optuna

REDUCTION = 4  # of the runs at each rung of successive halving


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of the searcher."""

    sampler: Literal["tpe", "qmc", "random"] = setting(
        "tree-structured Parzen estimators, quasi-random points, or random ones", "tpe"
    )
    pruner: Literal["median", "halving"] | None = setting(
        "gives a run up at an evaluation at which it is worse than the median of the rounds "
        "before, or not in the best quarter (successive halving); None: never",
        None,
    )
    startup_trials: int = setting("drawn at random first, and never given up", 8, low=1)


def propose(config: Config, asked: Asked, count: int) -> Sequence[Point]:
    """The next points, which Optuna chooses in the knowledge of one another."""
    kinds = {key: _distribution(key, spread) for key, spread in asked.space.items()}
    is_sequence = config.sampler == "qmc"  # of points that depend on their number alone
    before = len(asked.trials) if is_sequence else 0
    with _quiet():
        study = _study(config, dataclasses.replace(asked, trials=[]) if is_sequence else asked)
        chosen = [study.ask(kinds).params for _ in range(before + count)][before:]
    return [
        {key: _value(asked.space[key], found) for key, found in params.items()} for params in chosen
    ]


def gives_up(config: Config, asked: Asked, values: Sequence[tuple[int, float]]) -> int | None:
    """The first step at which the pruner would end a run with these values."""
    if config.pruner is None:
        return None
    if config.pruner == "halving":
        return (
            _outside_the_best(asked, values) if len(asked.trials) >= config.startup_trials else None
        )
    with _quiet():
        trial = _study(config, asked).ask()
        for step, value in values:
            trial.report(value, step)
            if trial.should_prune():
                return step
    return None


def _outside_the_best(asked: Asked, values: Sequence[tuple[int, float]]) -> int | None:
    """The first step at which asynchronous successive halving (1810.05934) ends a run.

    Its rungs are the first evaluation of all runs and REDUCTION times as many steps each; a run
    goes beyond one if it is among the best 1 / REDUCTION of those that came so far. Optuna's own
    pruner reads marks that it leaves in trials as they run, which recorded trials do not have.
    """
    sign = 1.0 if asked.is_lower_better else -1.0
    before = [trial.values for trial in asked.trials if trial.values]
    rung = min((shown[0][0] for shown in before), default=0)
    for step, value in values:
        while rung and step >= rung:
            rivals = [found for shown in before if (found := _at(shown, rung)) is not None]
            places = max(1, (len(rivals) + 1) // REDUCTION)
            if sum(not sign * value <= sign * rival for rival in rivals) >= places:
                return step
            rung *= REDUCTION
    return None


def _at(values: Sequence[tuple[int, float]], rung: int) -> float | None:
    """The value at the first evaluation that is not before a rung."""
    return next((value for step, value in values if step >= rung), None)


def _study(config: Config, asked: Asked) -> "optuna.Study":
    import optuna

    seed = asked.seed * 100_003 + len(asked.trials)  # each round draws on
    samplers = {
        "tpe": lambda: optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=config.startup_trials, constant_liar=True
        ),
        "qmc": lambda: optuna.samplers.QMCSampler(seed=asked.seed, scramble=True),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
    }
    study = optuna.create_study(
        direction="minimize" if asked.is_lower_better else "maximize",
        sampler=samplers[config.sampler](),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=config.startup_trials),
    )
    for trial in asked.trials:
        with contextlib.suppress(ValueError, KeyError):  # outside the space
            study.add_trial(_recorded(trial, asked.space))
    return study


def _recorded(trial: Trial, space: Mapping[str, Spread]) -> "optuna.trial.FrozenTrial":
    from optuna.trial import TrialState, create_trial

    state = TrialState.COMPLETE if trial.value is not None else TrialState.FAIL
    return create_trial(
        params={key: _name(spread, trial.point[key]) for key, spread in space.items()},
        distributions={key: _distribution(key, spread) for key, spread in space.items()},
        value=None if trial.is_pruned else trial.value,
        state=TrialState.PRUNED if trial.is_pruned else state,
        intermediate_values=dict(trial.values),
    )


def _distribution(key: str, spread: Spread) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(spread, Numbers):
        return FloatDistribution(float(spread.low), float(spread.high), log=spread.is_log)
    if isinstance(spread, Choice):
        return CategoricalDistribution(range(len(spread.values)))
    raise UserError(f"Search: {key} has a spread that is none of uniform, log_uniform and choice")


def _name(spread: Spread, value: Any) -> Any:
    """What Optuna knows a value by. Raises ValueError for one outside the spread."""
    return spread.values.index(value) if isinstance(spread, Choice) else value


def _value(spread: Spread, name: Any) -> Any:
    """The value that Optuna knows by this name."""
    if isinstance(spread, Choice):
        return spread.values[name]
    return spread.rounded(name) if isinstance(spread, Numbers) else name


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna without its lines and warnings on stderr. Raises UserError where it is absent."""
    try:
        import optuna
    except ImportError:
        raise UserError(
            'a search needs optuna; install it with pip install "lm_lab[search]"'
        ) from None
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


SEARCHER = Searcher(Config, propose, gives_up)
