"""The runs of a study that has not begun: planned, counted, and judged as a design."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_lab import config as configs
from lm_lab import report
from lm_lab.data.text import Texts
from lm_lab.library.counting import count_here
from lm_lab.report.contract import Assumptions
from lm_lab.sweeps import store
from lm_lab.sweeps.algebra import Point
from lm_lab.sweeps.results import rows_of
from lm_lab.sweeps.study import Study
from lm_lab.train import trust
from lm_lab.train.task import bind

NOWHERE = Path("/nonexistent")  # the sweep's directory of runs that have none


def describe_design(study: Study, assumed: Assumptions) -> list[str]:
    """The planned runs of a study in short, and what its analysis expects of them, as lines.

    Every run is resolved and counted, and none begins. Raises UserError for a point that is wrong.
    """
    analysis, settings = report.read_analysis(study.analysis, f"study {study.name!r}")
    planned = store.plan(study, resolver(study, set()))
    sizes = count_here(planned)
    rows = [row | sizes[row["name"]] for row in rows_of(planned, NOWHERE)]
    analysis.check(settings, rows)
    flops = sum(row["flops"] or 0.0 for row in rows)
    lines = [f"{study.name}: {len(rows)} runs, {flops:.3g} FLOPs", f"  {study.question}"]
    if analysis.designer is None:
        return [*lines, f"an analysis of kind {study.analysis['kind']} judges no design"]
    return lines + analysis.designer.describe(rows, settings, assumed)


def resolver(study: Study, trusted: set[str]) -> Callable[[Point], dict[str, Any]]:
    """Overrides -> the complete config of a run; adds to `trusted` the outside packages it names.

    The runs of one study read one text once.
    """
    texts = Texts()

    def resolve(overrides: Point) -> dict[str, Any]:
        task = bind(*configs.resolve(configs.override(study.base, overrides)), texts)
        resolved = dict(task.values)
        trusted.update(trust.packages(resolved))
        return resolved

    return resolve
