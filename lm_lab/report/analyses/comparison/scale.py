"""How a metric is compared: in what words, which values are good, and what a difference is.

The analysis is done in heights, of which the lower is the better. Likelihoods (bits per byte, loss,
perplexity) are above 0, and their height is the log: a difference of heights is a ratio. Of a
metric that may be 0 or has an upper end, as accuracy, ratios mean nothing: its height is its value,
negative where higher is better, and a difference is in the metric's own unit.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from lm_lab.report import formatting
from lm_lab.scaling.records import Estimate
from lm_lab.types import UserError

Array = np.ndarray
Direction = Literal["higher", "lower"]
BITS = "bits per byte"


class Known(NamedTuple):
    """What the name of a metric says of it; `low` and `high` are the ends of its range."""

    direction: Direction
    words: str = ""  # "": the name itself
    is_ratio: bool = False
    low: float = -math.inf
    high: float = math.inf


LIKELIHOOD = Known("lower", is_ratio=True, low=0.0)
SHARE = Known("higher", low=0.0, high=1.0)
CORRELATION = Known("higher", low=-1.0, high=1.0)
PERCENT = Known("higher", low=0.0, high=100.0)
ERROR = Known("lower", low=0.0)
KNOWN = {
    "bits_per_byte": LIKELIHOOD._replace(words=BITS),
    "loss": LIKELIHOOD,
    "nll": LIKELIHOOD,
    "perplexity": LIKELIHOOD,
    **dict.fromkeys(("accuracy", "exact_match", "analogies"), SHARE),
    **dict.fromkeys(("acc", "acc_norm", "acc_bytes", "acc_tokens"), SHARE),
    "f1": SHARE._replace(words="F1"),
    **dict.fromkeys(("matthews", "pearson", "spearman", "similarity"), CORRELATION),
    "bleu": PERCENT._replace(words="BLEU"),
    "chrf": PERCENT._replace(words="chrF"),
    "rouge1": PERCENT._replace(words="ROUGE-1"),
    "rouge2": PERCENT._replace(words="ROUGE-2"),
    "rougeL": PERCENT._replace(words="ROUGE-L"),
    **dict.fromkeys(("error_rate", "edit_rate", "squared_error"), ERROR),
}


class Scale(NamedTuple):
    """How one metric is compared."""

    noun: str  # "bits per byte", "accuracy"
    place: str  # of what text: "held-out", or the label of a task
    known: Known

    @property
    def title(self) -> str:
        """The metric and its text: "held-out accuracy"."""
        return f"{self.place} {self.noun}"

    @property
    def capital(self) -> str:
        """The metric at the start of a sentence."""
        return self.noun[0].upper() + self.noun[1:]

    @property
    def heading(self) -> str:
        """The metric and its text at the start of a sentence."""
        return self.title[0].upper() + self.title[1:]

    @property
    def unit(self) -> str:
        """The head of a column of a table."""
        return "bits/byte" if self.noun == BITS else self.noun

    @property
    def hint(self) -> str:
        """ ", higher is better", where readers may not know."""
        return "" if self.noun == BITS else f", {self.known.direction} is better"

    @property
    def subject(self) -> str:
        """Its values, as the subject of a sentence."""
        return f"{self.capital} are" if self.noun == BITS else "Values are"

    @property
    def pronoun(self) -> str:
        """What stands for its name: those, that."""
        return "those" if self.noun == BITS else "that"

    @property
    def is_higher_better(self) -> bool:
        """Whether high values are good."""
        return self.known.direction == "higher"

    @property
    def is_ratio(self) -> bool:
        """Whether differences are ratios."""
        return self.known.is_ratio

    @property
    def best(self) -> str:
        """What the best value is: "lowest"."""
        return "highest" if self.is_higher_better else "lowest"

    @property
    def worse(self) -> str:
        """Where worse values lie: "above"."""
        return "below" if self.is_higher_better else "above"

    @property
    def quantity(self) -> str:
        """The word for a value of it: bits per byte are a loss."""
        return "loss" if self.noun == BITS else self.noun

    def heights(self, values: Array) -> Array:
        """Values as heights, of any shape."""
        if self.is_ratio:
            return np.log(values)
        return -values if self.is_higher_better else values

    def height(self, value: float) -> float:
        """One value as a height."""
        return float(self.heights(np.array(value)))

    def values(self, heights: Array) -> Array:
        """Heights as values, of any shape."""
        if self.is_ratio:
            return np.exp(heights)
        return -heights if self.is_higher_better else heights

    def value(self, height: float) -> float:
        """One height as a value."""
        return float(self.values(np.array(height)))

    def estimate(self, height: float, half: float | None) -> Estimate:
        """A height, and half of its interval (None: none), as a value within the metric's range."""
        heights = [height] if half is None else [height, height - half, height + half]
        inside = np.clip(self.values(np.array(heights)), self.known.low, self.known.high)
        value, *bounds = inside.tolist()
        return Estimate(value, *sorted(bounds))

    def amount(self, difference: float) -> str:
        """A small difference of heights in words: 1.2 %, or in the metric's unit."""
        return formatting.percent(difference) if self.is_ratio else formatting.plain(difference, 2)


def scale_of(column: str, direction: Direction | None) -> Scale:
    """How a column of results.csv is compared. Raises UserError where its name does not say which
    values are good and `direction` does not either, or where they contradict each other.
    """
    folder, _, name = column.rpartition("/")
    found = next((key for key in KNOWN if name == key or name.endswith(f"_{key}")), None)
    if found is None and direction is None:
        raise UserError(
            f"analysis.direction is missing: say whether 'higher' or 'lower' values of {column} "
            "are better"
        )
    known = Known(direction or "lower") if found is None else KNOWN[found]
    if direction not in (None, known.direction):
        raise UserError(
            f"analysis.direction is {direction!r}, but {known.direction} values of {column} are "
            "better; leave it out"
        )
    is_plain = not folder and found is not None  # as continuation_bits_per_byte, test_loss
    noun = known.words or (found if is_plain and found else name).replace("_", " ")
    label = folder.rpartition("/")[2]
    is_heldout = not label or label.partition("_")[0] == "heldout"
    return Scale(noun, "held-out" if is_heldout else label, known)
