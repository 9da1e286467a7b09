"""A study's design before any run: the intervals to expect of it, and which runs to add."""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from lm_lab.report import formatting
from lm_lab.report.analyses.isoflop.forecast import SIZES, held_out
from lm_lab.report.analyses.isoflop.results import Settings
from lm_lab.report.contract import Assumptions, Designer
from lm_lab.report.stored import Row
from lm_lab.runs.sweep import swept
from lm_lab.scaling.design import (
    ILL_CONDITIONED,
    Design,
    Judgement,
    Law,
    Proposal,
    judge,
    propose,
    reference_law,
)
from lm_lab.scaling.optimum import MeasuredCost, optimal_params

WIDE = 0.2  # an interval of a that holds both of the published exponents, .46 and .73 of N*
FIXED_RATIO = 2.0  # a design whose D/N spans less is one of fixed D/N
GROWTH = 4.0  # a proposal without a held-out budget may go this far beyond the largest


class _Study:
    """The planned cells of a study: those to fit, and those held out."""

    def __init__(self, rows: Sequence[Row], settings: Settings, assumed: Assumptions) -> None:
        sized = [row for row in rows if all(row.get(key) is not None for key in SIZES)]
        self.seen = _cells([row for row in sized if not held_out(settings, row)])
        self.held = _cells([row for row in sized if held_out(settings, row)])
        self.uncounted = len(rows) - len(sized)
        self.settings, self.assumed = settings, assumed

    @cached_property
    def cost(self) -> MeasuredCost:
        """FLOPs a token, as counted for the planned runs."""
        every = self.seen.joined(self.held)
        return MeasuredCost.of(every.params, every.tokens, every.flops)

    @cached_property
    def law(self) -> Law:
        """The reference law."""
        theta = self.assumed.law
        return Law(*theta) if theta else reference_law(self.seen, self.cost)

    @cached_property
    def judged(self) -> Judgement:
        """The intervals to expect of approach 3."""
        level, noise = self.settings.level, self.assumed.noise
        return judge(self.seen, self.law, noise, level, self.held)

    @property
    def budgets(self) -> list[float]:
        """The budgets that fits see, smallest first."""
        return np.unique(self.seen.budget).tolist()

    def proposal(self, flops: float) -> Proposal:
        """The cells to add for more FLOPs."""
        top = self.budgets[-1] * (1.0 if len(self.held) else GROWTH)
        level, noise = self.settings.level, self.assumed.noise
        return propose(self.seen, self.law, noise, flops, self.cost, top, level)


def _cells(rows: Sequence[Row]) -> Design:
    """One cell for each size of a budget; other swept settings count as rates to choose from, and
    the number of seeds is the mean over them.
    """
    settings = [key for key in swept(rows) if key != "seed"]
    groups: dict[tuple[float, float], list[Row]] = {}
    for row in rows:
        budget = float(row.get("budget_flops") or row["flops"])
        groups.setdefault((budget, float(row["params"])), []).append(row)
    columns = []
    for (budget, params), runs in sorted(groups.items(), key=lambda item: item[0]):
        rates = len({tuple(row.get(key) for key in settings) for row in runs})
        tokens, flops = float(runs[0]["tokens"]), float(runs[0]["flops"])
        columns.append((params, tokens, flops, budget, len(runs) / rates, rates))
    return Design(*np.array(columns, np.float64).reshape(-1, 6).T)


def cautions(rows: Sequence[Row], settings: Settings) -> list[str]:
    """The weaknesses of a design under the default assumptions, one per line."""
    return _cautions(_Study(rows, settings, Assumptions()))


def _cautions(study: _Study) -> list[str]:
    budgets = study.budgets
    if len(budgets) < 2:
        return [f"{formatting.many(len(budgets), 'fitted budget')}: no exponent can be fitted"]
    notes = []
    if len(budgets) < 4:
        notes.append(
            "two fitted budgets: nothing checks the exponent"
            if len(budgets) == 2
            else "three fitted budgets: a misfit of L*(C) = E + k C^-g shows from four on"
        )
    notes += _of_ratio(study.seen)
    notes += _of_grids(study)
    notes += _of_rates(study.seen)
    return notes + _of_widths(study.judged)


def _of_ratio(seen: Design) -> list[str]:
    ratio = seen.tokens / seen.params
    if ratio.max() / ratio.min() >= FIXED_RATIO:
        return []
    return [
        f"D/N is fixed (within x{ratio.max() / ratio.min():.2f}): A N^-alpha and B D^-beta cannot "
        "be told apart (2605.08541); vary the size at each budget"
    ]


def _of_grids(study: _Study) -> list[str]:
    """Budgets with few sizes, and those whose optimum is not near the middle of their sizes."""
    few, outside, aside = [], [], []
    for budget in study.budgets:
        cells = study.seen.where(study.seen.budget == budget)
        logs = np.log(cells.params)
        shown = formatting.power(budget)
        if len(cells) < 4:
            few.append(shown)
        best = math.log(
            optimal_params(study.law.theta, np.array([cells.flops.mean()]), study.cost)[0]
        )
        if not logs.min() <= best <= logs.max():
            outside.append(shown)
        elif abs(best - logs.mean()) > np.ptp(logs) / 4:
            aside.append(shown)
    notes = []
    if few:
        notes.append(
            f"fewer than four sizes at {formatting.listed(few)} FLOPs: no residual in the valley"
        )
    if outside:
        notes.append(
            f"the sizes at {formatting.listed(outside)} FLOPs lie to one side of the optimum of "
            "the reference law: no valley to be expected"
        )
    if aside:
        notes.append(
            f"the sizes at {formatting.listed(aside)} FLOPs are off the centre of the reference "
            "law: the vertex will be biased (2603.22339)"
        )
    return notes


def _of_rates(seen: Design) -> list[str]:
    rates = float(np.min(seen.rates))
    if rates >= 3:
        return []
    return [
        "one peak rate a size: the valleys may be those of the rate"
        if rates < 2
        else "two peak rates a size: the best is always at the edge of its grid"
    ]


def _of_widths(judged: Judgement) -> list[str]:
    notes = []
    if judged.condition > ILL_CONDITIONED:
        notes.append(
            f"condition number {judged.condition:.0f} of approach 3: the runs will hardly tell "
            "its parameters apart"
        )
    if judged.exponent_width is None or judged.exponent_width > WIDE:
        width = judged.exponent_width
        shown = "wider than 1" if width is None else f"{width:.2f} wide"
        notes.append(
            f"the {formatting.percent(judged.level)} interval of the exponent of N* is expected to "
            f"be {shown}, at a noise of {formatting.percent(judged.noise)}"
        )
    return notes


def describe(rows: Sequence[Row], settings: Settings, assumed: Assumptions) -> list[str]:
    """The design, what to expect of it, its cautions, and the runs to add, as lines of text."""
    study = _Study(rows, settings, assumed)
    lines = _table(study.seen, study.held)
    if study.uncounted:
        lines.append(f"  {formatting.many(study.uncounted, 'run')} could not be counted")
    if len(study.budgets) >= 2:
        lines += _expected(study)
    if notes := _cautions(study):
        lines += ["cautions", *(f"  {caution}" for caution in notes)]
    if assumed.added_flops is not None and len(study.budgets) >= 2:
        lines += _proposed(study.proposal(assumed.added_flops), assumed.added_flops)
    return lines


def _table(seen: Design, held_out_cells: Design) -> list[str]:
    header = ("budget", "sizes", "rates", "seeds", "N", "D", "D/N", "FLOPs")
    body: list[tuple[str, ...]] = [header]
    for design, note in ((seen, ""), (held_out_cells, " held out")):
        for budget in np.unique(design.budget):
            cells = design.where(design.budget == budget)
            body.append(
                (
                    f"{budget:.3g}{note}",
                    str(len(cells)),
                    f"{cells.rates.max():g}",
                    f"{cells.seeds.max():.2g}",
                    _span(cells.params),
                    _span(cells.tokens),
                    _span(cells.tokens / cells.params),
                    f"{cells.cost:.3g}",
                )
            )
    widths = [max(map(len, column)) for column in zip(*body, strict=True)]
    return ["design", *("  " + "  ".join(map(str.rjust, row, widths)) for row in body)]


def _span(values: np.ndarray) -> str:
    return f"{formatting.short(values.min())} .. {formatting.short(values.max())}"


def _expected(study: _Study) -> list[str]:
    judged, law = study.judged, study.law
    source = (
        ["as given"]
        if study.assumed.law
        else [
            "for reference: Chinchilla's exponents (2404.10102), the optimum of the middle budget",
            "in the middle of its sizes, and half of the loss there irreducible",
        ]
    )
    level = formatting.percent(judged.level)
    width, prediction = judged.exponent_width, judged.prediction_width
    lines = [
        "to be expected of approach 3",
        f"  law                 L = {law.E:.3g} + {law.A:.3g} N^-{law.alpha:g} + {law.B:.3g} "
        f"D^-{law.beta:g}",
        *(f"                      {line}" for line in source),
        f"  noise               {formatting.percent(judged.noise)} of the loss of a run (--noise)",
        f"  condition number    {judged.condition:.0f} (below {ILL_CONDITIONED:.0f} is well)",
        f"  exponent of N*      {law.exponent:.3f}, its {level} interval "
        + ("wider than 1: undetermined" if width is None else f"{width:.3f} wide"),
    ]
    if len(study.held):
        shown = "undetermined" if prediction is None else f"{formatting.percent(prediction)} wide"
        lines.append(f"  held-out loss       its {level} interval {shown}")
    return lines


def _proposed(proposal: Proposal, flops: float) -> list[str]:
    cells = proposal.cells
    if not len(cells):
        return [f"no further run is to be had for {flops:.3g} FLOPs"]
    lines = [f"runs that would tell most of the exponent for {flops:.3g} FLOPs more"]
    for budget in np.unique(cells.budget):
        cells_of_budget = cells.where(cells.budget == budget)
        sizes = ", ".join(formatting.short(size) for size in np.sort(cells_of_budget.params))
        lines.append(f"  at {budget:.3g} FLOPs: N = {sizes}")
    shown = ["undetermined" if width is None else f"{width:.3f}" for width in _widths(proposal)]
    rates = f"{cells.rates.max():g} rates" if cells.rates.max() > 1 else "one rate"
    return [
        *lines,
        f"  {formatting.many(len(cells), 'cell')} at {rates} each, {cells.cost:.3g} FLOPs; the "
        f"interval of the exponent: {shown[0]} -> {shown[1]} ({shown[2]} if the same FLOPs "
        "repeated the design)",
    ]


def _widths(proposal: Proposal) -> tuple[float | None, ...]:
    return proposal.before, proposal.after, proposal.repeated


DESIGNER = Designer(cautions, describe)
