"""The design of a study before it begins: its runs planned and counted, and its weaknesses."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_lab import config as configs
from lm_lab import report
from lm_lab.data.text import Texts
from lm_lab.library.counting import count_here
from lm_lab.library.pace import Pace
from lm_lab.report import formatting
from lm_lab.report.contract import Analysis, Assumptions
from lm_lab.runs.sweep import Planned, Row
from lm_lab.sweeps import groups, store
from lm_lab.sweeps.algebra import Point
from lm_lab.sweeps.results import rows_of
from lm_lab.sweeps.rounds import extended, first
from lm_lab.sweeps.study import Study
from lm_lab.train import trust
from lm_lab.train.task import bind
from lm_lab.types import UserError

RUN_COLUMNS = ("run", "parameters", "tokens", "FLOPs", "state (MB)", "time")
UNEQUAL = 0.05  # share by which the compute of a run may differ from its budget without a word
SHOWN = 2  # cautions at a launch
NOWHERE = Path("/nonexistent")  # in the place of a sweep's directory, which a planned study lacks


def describe_design(study: Study, assumed: Assumptions) -> list[str]:
    """Lines that summarise the planned runs of a study, and what its analysis expects of them.

    Every run is resolved and counted, and none begins. Raises UserError for a point that is wrong.
    """
    analysis, settings = report.read_analysis(study.analysis, f"study {study.name!r}")
    planned = store.plan(begun(study), resolver(study, set()))
    rows = rows_of(planned, NOWHERE)
    analysis.check(settings, rows)
    cost = sum(groups.cost(run.config) for run in planned)
    units = {"FLOPs" if row["budget_flops"] else "tokens" for row in rows}
    unit = " or ".join(sorted(units))
    lines = [f"{study.name}: {len(rows)} runs, {cost:.3g} {unit}", f"  {study.question}"]
    if analysis.designer is None:
        return [*lines, f"an analysis of kind {study.analysis['kind']} judges no design"]
    sizes = count_here(planned)
    sized = [row | sizes[row["name"]] for row in rows]
    return lines + analysis.designer.describe(sized, settings, assumed)


def describe_runs(study: Study, pace: Callable[[str], Pace]) -> list[str]:
    """A line for each planned run: what it varies, its parameters, tokens, FLOPs, the bytes of its
    train state (parameters, gradients, optimizer) and its time; then their sums. FLOPs and time are
    those of the run itself, without the part of its trunk. `pace` takes the dtype of products.

    Every run is resolved and counted; none begins, and nothing is written but token stores and
    vocabularies in the cache. Raises UserError for a point that is wrong.
    """
    analysis, settings = report.read_analysis(study.analysis, f"study {study.name!r}")
    planned = store.plan(begun(study), resolver(study, set()))
    analysis.check(settings, rows_of(planned, NOWHERE))
    speed = pace(planned[0].config["precision"]["compute"])
    reasons: dict[str, list[str]] = {}  # why runs cannot be counted -> the runs
    counted = count_here(
        planned,
        refused=lambda number, why: reasons.setdefault(why, []).append(planned[number].name),
    )
    sizes = {run.name: _own(run.config, counted[run.name]) for run in planned}
    keys, *varied = store.varied_columns(planned)
    lines = [[*RUN_COLUMNS, *keys]]
    lines += [
        [run.name, *_shown(sizes[run.name], speed), *values]
        for run, values in zip(planned, varied, strict=True)
    ]
    flops = sum(size.get("flops", 0) for size in sizes.values())
    cost = f"{flops:.4g} FLOPs, {speed.time(flops)} of one device"
    total = f"{study.name}: {len(planned)} runs, {cost} ({speed.words})"
    faults = [f"{', '.join(names)}: cannot be counted: {why}" for why, names in reasons.items()]
    return [*formatting.aligned(lines), *faults, *_off_budget(planned, counted), total]


def _off_budget(planned: Sequence[Planned], counted: Mapping[str, Any]) -> list[str]:
    """A caution of the runs whose compute is not that of their budget, or nothing."""
    missed = [
        abs(counted[run.name]["flops"] / budget - 1)
        for run in planned
        if counted[run.name] and (budget := run.config["train"]["budget_flops"])
    ]
    missed = [share for share in missed if share > UNEQUAL]
    if not missed:
        return []
    return [
        f"caution: {len(missed)} of {len(planned)} runs miss their budget, by up to "
        f"{max(missed):.0%}, as it is rounded to whole calls of train.steps_per_call steps: lower "
        "that or train.batch_size, or raise the budgets"
    ]


def begun(study: Study) -> Study:
    """The study, with the first round of its search where it has one."""
    return study if study.search is None else extended(study, first(study.search))


def _own(config: dict[str, Any], counted: Mapping[str, Any]) -> Mapping[str, Any]:
    """The counted sizes of a run, its FLOPs without those of the trunk that it leaves."""
    if not counted:
        return counted
    flops = counted["flops"] * groups.own_share(config, counted["tokens"])
    return {**counted, "flops": flops}


def _shown(size: Mapping[str, Any], speed: Pace) -> list[str]:
    if not size:
        return ["cannot be counted", "", "", "", ""]
    return [
        f"{size['params_total']:,}",
        f"{size['tokens']:,}",
        f"{size['flops']:.3g}",
        f"{size['state_bytes'] / 1e6:,.1f}",
        speed.time(size["flops"]),
    ]


def cautions_of(
    analysis: Analysis[Any, Any],
    settings: Any,
    count: Callable[[Sequence[Planned]], Mapping[str, Row]],
    planned: Sequence[Planned],
) -> list[str]:
    """The first weaknesses in the design of a study, one per line, or why its runs could not be
    counted.

    Studies without compute budgets are skipped.
    """
    rows = rows_of(planned, NOWHERE)
    if analysis.designer is None or not any(row["budget_flops"] for row in rows):
        return []
    try:
        sizes = count(planned)
    except UserError as error:
        return [str(error)]
    sized = [row | sizes.get(row["name"], {}) for row in rows]
    cautions = analysis.designer.cautions(sized, settings)
    more = [f"and {len(cautions) - SHOWN} more: lm-lab plan says them all"]
    return cautions if len(cautions) <= SHOWN + 1 else [*cautions[:SHOWN], *more]


def resolver(study: Study, trusted: set[str]) -> Callable[[Point], dict[str, Any]]:
    """Overrides -> the complete config of a run; adds to `trusted` the outside packages it names.

    Runs of a study with equal data sections open their text once.
    """
    texts = Texts()

    def resolve(overrides: Point) -> dict[str, Any]:
        task = bind(*configs.resolve(configs.override(study.base, overrides)), texts)
        resolved = dict(task.values)
        trusted.update(trust.packages(resolved))
        return resolved

    return resolve
