"""The results of a comparison, as frozen records of plain values, and its settings."""

from collections.abc import Mapping
from dataclasses import dataclass

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
    metric: str = setting("the column of results.csv to compare, in bits per byte", "bits_per_byte")
    level: float = setting("probability of the intervals", 0.9, low=0.5, high=0.999)
    draws: int = setting("simulations of seed noise for the intervals", 2000, low=100)

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
        return self.metric.removesuffix("bits_per_byte") + "selection_bits_per_byte"


@dataclass(frozen=True)
class Size:
    """One size of a contender at a budget, at the best of its peak rates; means over seeds."""

    params: float  # of matrix products, head included
    rate: float
    bits_per_byte: float
    runs: tuple[str, ...]  # their names, a seed each


@dataclass(frozen=True)
class Cell:
    """A contender at a budget, at its best peak rate and size.

    `bits_per_byte` is at the vertex of a parabola of log loss in log N through the sizes
    (`valley`), or, without a vertex, at the best size. It is corrected for `flattery`, in log bits
    per byte: how much better the best of several is expected to look than it is. Other values are
    means over seeds of the best size.
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
    bits_per_byte: Estimate
    variance: float  # of log bits_per_byte, in units of that of one run
    flattery: float
    runs: tuple[str, ...]  # names of those of the size tried that is best
    tried: tuple[Size, ...]
    valley: (
        Estimate | None
    )  # N at the vertex; None: three sizes with a vertex among them are lacking


@dataclass(frozen=True)
class Multiplier:
    """The reference's compute for a contender's loss, as a share of the contender's compute.

    The interval holds seed noise and the form of the reference's law. `high` is None beside a `low`
    if a form that the runs allow never reaches that loss.
    """

    arm: str
    budget: float
    share: Estimate
    extrapolated: bool  # outside the losses that the reference reached


@dataclass(frozen=True)
class Pair:
    """Two contenders at a budget: log(bits of `other` / bits of `one`), `one` being ahead.

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
    """The scatter of runs that differ in their seed alone, of log bits per byte.

    `floor` is the smallest difference of two contenders, in log bits per byte, that is told apart
    among all pairs of all budgets.
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
        return sorted(
            (c for c in self.cells if c.budget == budget), key=lambda c: c.bits_per_byte.value
        )

    def pair(self, budget: float, one: str, other: str) -> Pair:
        """The comparison of two contenders at a budget."""
        return next(
            p for p in self.pairs if p.budget == budget and {p.one, p.other} == {one, other}
        )

    @property
    def budgets(self) -> list[float]:
        """All budgets, ascending."""
        return sorted({cell.budget for cell in self.cells})
