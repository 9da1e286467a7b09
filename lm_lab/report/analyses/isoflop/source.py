"""The source of an analysis' points: their runs, units and conventions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lm_lab.report import formatting
from lm_lab.report.stored import Row, budget
from lm_lab.scaling.records import IsoflopAnalysis, Point

SAME_BUDGET = 0.02  # relative: budgets this near are one, as where points are made of runs
COUNTED = (
    "N: parameters of matrix products, head included; D: training tokens; C: counted FLOPs, "
    "forward and backward."
)


@dataclass(frozen=True)
class Source:
    """Where points come from.

    `unit` is that of a loss (token, byte), `convention` a sentence on how N, D and C are counted,
    `rows` every measured run: of a sweep, with names, or of any table, without; `finals` the
    metrics at the end of each run, by its name.
    """

    unit: str = "token"
    convention: str = COUNTED
    rows: Sequence[Row] = ()
    finals: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def loss(self) -> str:
        """The label of an axis of loss."""
        return f"held-out loss (nats per {self.unit})"

    @cached_property
    def _by_params(self) -> dict[float, list[Row]]:
        rows_by_params: dict[float, list[Row]] = {}
        for row in self.rows:
            if row.get("name") and row.get("params") is not None:
                rows_by_params.setdefault(float(row["params"]), []).append(row)
        return rows_by_params

    def runs(self, point: Point) -> tuple[str, ...]:
        """The names of the runs whose mean loss a point is; none for a table without names."""
        near = [
            row
            for row in self._by_params.get(point.params, ())
            if math.isclose(budget(row), point.budget, rel_tol=SAME_BUDGET)
        ]
        rated = [row for row in near if row.get("optimizer.peak_rate") == point.rate]
        return tuple(str(row["name"]) for row in (rated or near))

    def words(self, point: Point) -> str:
        """The text that is shown when a reader points at a point."""
        size, data = formatting.short(point.params), formatting.short(point.tokens)
        compute = formatting.power(point.flops, 3)
        parts = [f"N {size}, D {data}, C {compute}", f"loss {formatting.plain(point.loss)}"]
        parts += [] if point.rate is None else [f"peak rate {formatting.plain(point.rate, 3)}"]
        parts += [f"mean of {point.seeds} seeds"] if point.seeds > 1 else []
        return "; ".join([*parts, *(["held out, not fitted"] if point.held_out else [])])

    def basis(self, analysis: IsoflopAnalysis) -> str:
        """The end of a caption: how many points, what is left out, and how things are counted."""
        held_out = sum(point.held_out for point in analysis.points)
        counts = [formatting.many(len(analysis.points) - held_out, "point") + " fitted"]
        counts += [f"{held_out} held out"] if held_out else []
        for kind, meaning in (("run left out", "left out"), ("outlier", "named as outlying")):
            count = sum(caution.kind == kind for caution in analysis.cautions)
            counts += [f"{count} {meaning}"] if count else []
        return f"{', '.join(counts)}. {self.convention}"
