"""The results of a comparison, as frozen records of plain values, and its settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lm_lab.report.analyses.comparison.scale import Direction, Scale, scale_of
from lm_lab.scaling.records import Estimate
from lm_lab.schema import setting
from lm_lab.types import UserError


@dataclass(frozen=True)
class Settings:
    """The keys of a study's "analysis", other than its kind.

    Raises UserError for fewer than two contenders.
    """

    arms: dict = setting("contenders: name -> the overrides that all its runs share")
    reference: str = setting("the contender with whose compute the others' is compared")
    metric: str = setting(
        "the column of results.csv to compare, such as eval/heldout/accuracy", "bits_per_byte"
    )
    level: float = setting("probability of the intervals", 0.9, low=0.5, high=0.999)
    draws: int = setting("simulations of seed noise for the intervals", 2000, low=100)
    direction: Direction | None = setting(
        "which values of the metric are better; None: as its name says", None
    )

    def __post_init__(self) -> None:
        if len(self.arms) < 2 or not all(
            isinstance(shared, Mapping) for shared in self.arms.values()
        ):
            raise UserError(
                'arms must name two contenders or more, each with its overrides: {"name": {"key": '
                "value}}"
            )
        if self.reference not in self.arms:
            raise UserError(
                f"reference {self.reference!r} is none of the arms: {', '.join(self.arms)}"
            )

    @property
    def selection_metric(self) -> str:
        """The column of the same quantity on the text that settings are chosen by."""
        evaluation, slash, name = self.metric.rpartition("/")
        if slash:
            return f"{evaluation}_selection/{name}"
        bits = "bits_per_byte" if name.endswith("bits_per_byte") else name
        return f"{name.removesuffix(bits)}selection_{bits}"

    @property
    def scale(self) -> Scale:
        """How the metric is compared. Raises UserError for a direction that is missing or wrong."""
        return scale_of(self.metric, self.direction)


@dataclass(frozen=True)
class Size:
    """One size of a contender at a budget, at the best of its peak rates; means over seeds."""

    params: float  # of matrix products, head included
    rate: float
    metric: float
    runs: tuple[str, ...]  # their names, a seed each


@dataclass(frozen=True)
class Cell:
    """A contender at a budget, at its best peak rate and size.

    `metric` is at the vertex of a parabola of heights (scale.py) in log N through the sizes
    (`valley`), or, without a vertex, at the best size. It is corrected for `flattery`, in heights:
    how much better the best of several is expected to look than it is. Other values are means over
    seeds of the best size.
    """

    arm: str
    budget: float  # FLOPs
    params: float  # of matrix products, head included
    params_total: float
    rate: float
    rates: int
    rate_at_edge: bool  # the best of several rates is the lowest or the highest tried
    size_at_edge: bool  # the best of several sizes is the smallest or the largest tried
    sizes: int
    seeds: int
    tokens: float
    flops: float
    seconds: float  # of training
    compile_seconds: float | None  # not part of `seconds`; None: `seconds` includes compiling
    metric: Estimate
    variance: float  # of the metric's height, in units of that of one run
    flattery: float
    runs: tuple[str, ...]  # names of those of the size tried that is best
    tried: tuple[Size, ...]
    valley: (
        Estimate | None
    )  # N at the vertex; None: three sizes with a vertex among them are lacking


def ranked(cells: Sequence[Cell], budget: float, settings: Settings) -> list[Cell]:
    """The contenders at a budget, best first."""
    scale, here = settings.scale, [cell for cell in cells if cell.budget == budget]
    return sorted(here, key=lambda cell: scale.height(cell.metric.value))


@dataclass(frozen=True)
class Multiplier:
    """The reference's compute for a contender's metric, as a share of the contender's compute.

    The interval holds seed noise and, of a likelihood, the form of the reference's law. `high` is
    None beside a `low` if a form that the runs allow never reaches that loss.
    """

    arm: str
    budget: float
    share: Estimate
    extrapolated: bool  # outside the values that the reference reached


@dataclass(frozen=True)
class Pair:
    """Two contenders at a budget: the height of `other` above that of `one`, which is ahead; of a
    likelihood, the log of their ratio.

    The interval is simultaneous over all pairs of all budgets. `told`: the pair is told apart, 0
    being outside the interval (None: no interval).
    """

    budget: float
    one: str
    other: str
    difference: Estimate
    told: bool | None


@dataclass(frozen=True)
class Decision:
    """Whether a smaller budget orders the contenders as the largest does (2504.11393).

    `share` of `pairs` have the same order at both, with the interval of seed noise at both; of the
    pairs that are told apart at the largest, `told_agreeing` of `told`.
    """

    budget: float
    target: float
    pairs: int
    share: Estimate
    told: int
    told_agreeing: int


@dataclass(frozen=True)
class Noise:
    """The scatter of runs that differ in their seed alone, in heights (scale.py).

    `floor` is the smallest difference of two contenders that is told apart among all pairs of all
    budgets.
    """

    deviation: Estimate  # standard deviation of one run
    degrees: int
    critical: float  # standard errors that a difference must exceed
    floor: float


@dataclass(frozen=True)
class Results:
    """The results that analysis.json stores."""

    settings: Settings
    cells: tuple[Cell, ...]
    multipliers: tuple[Multiplier, ...]
    pairs: tuple[Pair, ...]
    decisions: tuple[Decision, ...]
    noise: Noise | None  # None: no cell has two seeds
    missing: tuple[str, ...]  # contenders without a complete run at some budget
    text_apart: bool  # settings were chosen on other text than is reported

    def at(self, budget: float) -> list[Cell]:
        """The contenders at a budget, best first."""
        return ranked(self.cells, budget, self.settings)

    def pair(self, budget: float, one: str, other: str) -> Pair:
        """The comparison of two contenders at a budget."""
        return next(
            p for p in self.pairs if p.budget == budget and {p.one, p.other} == {one, other}
        )

    @property
    def budgets(self) -> list[float]:
        """All budgets, ascending."""
        return sorted({cell.budget for cell in self.cells})
