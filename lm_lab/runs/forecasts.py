"""What was predicted of a sweep's held-out runs before they began: stored in sweep.json, once.

A registered forecast is never changed afterwards. Its date, the hash of the results that it was
fitted to and the seal over all of it let a reader check that the prediction came first.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lm_lab.runs.reading import NUMBER, misfit

COLUMNS = (
    "name",
    "status",
    "budget_flops",
    "params",
    "params_body",
    "params_total",
    "tokens",
    "flops",
    "loss",
    "selection_loss",
    "bits_per_byte",
)
"""What the hash covers of a row: the run's name, which stands for all of its settings, and its
results without the clocks. Fixed, so that a study that grows more columns keeps its hash.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast:
    """A prediction of one number that the held-out runs will show, with its interval at `level`.

    `law` holds the fitted parameters by name. Where the analysis refuses to predict, `predicted` is
    None and `refusal` says why.
    """

    target: str  # the number, in words: "lowest loss at 3e+12 FLOPs"
    predictor: str
    law: dict[str, float] = dataclasses.field(default_factory=dict)
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    level: float
    refusal: str = ""

    def covers(self, observed: float) -> bool | None:
        """Whether the observed number lies in the interval; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return self.low <= observed <= self.high


@dataclasses.dataclass(frozen=True, kw_only=True)
class Registered:
    """A forecast as sweep.json holds it."""

    forecast: Forecast
    date: str  # date and time in ISO 8601
    analysis: dict[str, Any]  # of the study, at that time
    fitted: list[str]  # names of the runs whose results the law was fitted to
    left_out: list[str]  # names of fitted runs that had failed, and so had no result
    held_out: list[str]  # names of the runs that had not begun
    results_sha256: str  # of the fitted runs' results and the analysis
    seal: str = ""  # SHA-256 of all of the above

    @property
    def is_intact(self) -> bool:
        """Whether this is what was registered, to the letter."""
        return self.seal == sealed(self).seal


FORECAST_TYPES = {
    "target": str,
    "predictor": str,
    "law": dict,
    "predicted": (*NUMBER, type(None)),
    "low": (*NUMBER, type(None)),
    "high": (*NUMBER, type(None)),
    "level": NUMBER,
    "refusal": str,
}
TYPES = {
    "forecast": dict,
    "date": str,
    "analysis": dict,
    "fitted": list,
    "left_out": list,
    "held_out": list,
    "results_sha256": str,
    "seal": str,
}


def sealed(registered: Registered) -> Registered:
    """The same with its seal."""
    content = dataclasses.asdict(dataclasses.replace(registered, seal=""))
    return dataclasses.replace(registered, seal=_sha256(content))


def hash_of_results(rows: Sequence[Mapping[str, Any]], analysis: Mapping[str, Any]) -> str:
    """SHA-256 of rows of results and the settings of the analysis: what a forecast rests on."""
    ordered = sorted(rows, key=lambda row: str(row.get("name")))
    values = [[row.get(column) for column in COLUMNS] for row in ordered]
    return _sha256([values, dict(analysis)])


def read(values: Any) -> Registered | str:
    """A registered forecast of sweep.json, or what is wrong with it."""
    fields = values if isinstance(values, dict) else {}
    stored = fields.get("forecast")
    forecast = stored if isinstance(stored, dict) else {}
    for content, types in ((fields, TYPES), (forecast, FORECAST_TYPES)):
        absent = [f"{key} is absent" for key in types if key not in content]
        if fault := misfit(content, types) or next(iter(absent), None):
            return fault
    parsed = Forecast(**{key: forecast[key] for key in FORECAST_TYPES})
    return Registered(**{**{key: fields[key] for key in TYPES}, "forecast": parsed})


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
