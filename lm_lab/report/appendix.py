"""The sections of every report: unfinished runs, all runs, conventions, how it was made."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from lm_lab.report import formatting
from lm_lab.report.page import About, Block, Cell, Code, Number, Section, Table, Terms
from lm_lab.report.stored import Row, Sweep

_QUANTITIES = {
    "budget_flops": "budget (FLOPs)",
    "params": "parameters N",
    "params_body": "body",
    "params_total": "all parameters",
    "tokens": "tokens D",
    "flops": "FLOPs C",
    "loss": "loss (nats/{unit})",
    "bits_per_byte": "bits/byte",
    "test_bits_per_byte": "test bits/byte",
    "seconds": "seconds",
    "compile_seconds": "compiling (s)",
}
_COUNTS = ("params", "params_body", "params_total", "tokens")
_POWERS = ("budget_flops", "flops", "train.budget_flops")
_COLUMNS = (
    ("N", "params", "parameters of matrix products, the readout (head) included"),
    ("body", "params_body", "matrix parameters of the layers alone, the head left out"),
    ("all parameters", "params_total", "every trained number"),
    ("D", "tokens", "training tokens, counted once per pass"),
    ("C", "flops", "training FLOPs, counted from the program itself (forward and backward)"),
    ("loss", "loss", "mean negative log likelihood of held-out text, nats per {unit}"),
    (
        "bits/byte",
        "bits_per_byte",
        "the same loss in bits per byte of the original text, comparable across tokenizers",
    ),
    (
        "test bits/byte",
        "test_bits_per_byte",
        "of the text that the source keeps for the test, evaluated once, at the end of each run",
    ),
)


def facts(sweep: Sweep) -> list[tuple[str, str]]:
    """The facts under the title, as (label, value)."""
    flops = sum(row["flops"] or 0 for row in sweep.rows if row.get("flops"))
    seconds, compiling = (
        sum(row.get(key) or 0 for row in sweep.rows) for key in ("seconds", "compile_seconds")
    )
    pairs = [("runs complete", f"{len(sweep.finished):,} of {len(sweep.rows):,}")]
    pairs += [("FLOPs in all", formatting.power(flops))] if flops else []
    pairs += [("of training", formatting.seconds(seconds))] if seconds else []
    pairs += [("of compiling", formatting.seconds(compiling))] if compiling else []
    return [*pairs, ("started", sweep.study.created[:10])]


def about(sweep: Sweep) -> dict[str, About]:
    """The settings and command of each run, shown at the points that it is part of."""
    return {
        run.name: About(
            ", ".join(f"{key} {_shown(value)}" for key, value in run.overrides.items()),
            shlex.join(["lm-lab", "members", "DIR", run.name]),
        )
        for run in sweep.study.runs
    }


def _shown(value: Any) -> str:
    return formatting.plain(value) if isinstance(value, float) else str(value)


def sections(sweep: Sweep) -> list[Section]:
    """The sections in order of appearance."""
    parts = [Section("Every run", [_runs(sweep)]), Section("Conventions", _conventions(sweep))]
    if sweep.unfinished:
        parts.insert(0, Section("Runs that did not finish", _unfinished(sweep)))
    return [*parts, Section("How to make it again", _origin(sweep))]


def _unfinished(sweep: Sweep) -> list[Block]:
    has = "has" if len(sweep.unfinished) == 1 else "have"
    text = (
        f"{len(sweep.unfinished):,} of {formatting.many(len(sweep.rows), 'run')} {has} no result. "
        "No fit uses them; a diverged run counts as a peak rate that was tried and failed."
    )
    header = ["run", "status", "message", *sweep.overrides]
    shown = [
        [_words(row.get(key)) for key in ("name", "status", "message")] for row in sweep.unfinished
    ]
    rows = [[*cells, *_overridden(sweep, row)] for cells, row in zip(shown, sweep.unfinished)]
    return [text, Table(header, rows)]


def _runs(sweep: Sweep) -> Table:
    quantities = [key for key in _QUANTITIES if any(row.get(key) is not None for row in sweep.rows)]
    shown = [
        key
        for key in quantities
        if not (key == "budget_flops" and "train.budget_flops" in sweep.overrides)
    ]
    header = [
        "run",
        "status",
        *sweep.overrides,
        *(_QUANTITIES[key].format(unit=sweep.unit) for key in shown),
    ]
    rows = [
        [
            _words(row["name"]),
            _words(row.get("status")),
            *_overridden(sweep, row),
            *(_number(key, row.get(key)) for key in shown),
        ]
        for row in sweep.rows
    ]
    quiet = frozenset(
        place for place, row in enumerate(sweep.rows) if row.get("status") != "complete"
    )
    return Table(
        header,
        rows,
        "Click a heading to sort. The same rows are in results.csv.",
        sortable=True,
        quiet=quiet,
    )


def _overridden(sweep: Sweep, row: Row) -> list[Cell]:
    return [_number(key, row.get(key)) for key in sweep.overrides]


def _words(value: Any) -> str:
    return "" if value is None else str(value)


def _number(key: str, value: Any) -> Cell:
    """A cell of the table of runs."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None if value is None else str(value)
    if key in _COUNTS:
        return Number(formatting.grouped(value), value)
    if key in _POWERS:
        return Number(formatting.power(value, 3), value)
    if key in ("loss", "bits_per_byte", "test_bits_per_byte"):
        return Number(f"{value:.4f}", value)
    return Number(
        formatting.plain(value, 4) if isinstance(value, float) else formatting.minus(f"{value:,}"),
        value,
    )


def _conventions(sweep: Sweep) -> list[Block]:
    present = [
        (name, meaning.format(unit=sweep.unit))
        for name, key, meaning in _COLUMNS
        if any(row.get(key) is not None for row in sweep.rows)
    ]
    counts = _flops_table(sweep)
    text = (
        "Published laws count FLOPs and parameters in different ways, and exponents move with the "
        "count. Every run stores these conventions of training FLOPs per token; here for the "
        "smallest and the largest model."
    )
    return [Terms(present), *([text, counts] if counts else [])]


def _flops_table(sweep: Sweep) -> Table | None:
    """FLOPs per token by each convention, and their share of the FLOPs counted for the runs."""
    counted = [
        row
        for row in sweep.finished
        if sweep.results.get(row["name"], {}).get("flops_per_token") and row.get("params")
    ]
    if not counted:
        return None
    ends = [
        min(counted, key=lambda row: row["params"]),
        max(counted, key=lambda row: row["params"]),
    ]
    counts = [sweep.results[row["name"]]["flops_per_token"] for row in ends]
    spent = [
        row["flops"] / row["tokens"] if row.get("flops") and row.get("tokens") else None
        for row in ends
    ]
    rows = [[name, *_pair(counts, spent, name)] for name in counts[0] if name in counts[1]]
    sizes = [f"N = {formatting.grouped(row['params'])}" for row in ends]
    header = ["convention", sizes[0], "share of C", sizes[1], "share of C"]
    return Table(
        header,
        rows,
        "FLOPs per training token. Share of C: over the FLOPs per token that this report counts as "
        "C.",
    )


def _pair(
    counts: Sequence[dict[str, float]], spent: Sequence[float | None], name: str
) -> list[Cell]:
    cells: list[Cell] = []
    for count, flops_of_token in zip(counts, spent):
        cells += [
            Number(formatting.grouped(count[name]), count[name]),
            Number(f"{count[name] / flops_of_token:.3f}", count[name] / flops_of_token)
            if flops_of_token
            else None,
        ]
    return cells


def _origin(sweep: Sweep) -> list[Block]:
    blocks: list[Block] = []
    if sweep.study.command:
        blocks += [
            "This command made it; launched again, it finishes what is missing and redoes nothing.",
            Code(sweep.study.command),
        ]
    blocks += [
        "This command trains one of its runs, by the name that a point of a figure shows:",
        Code("lm-lab members DIR RUN    # DIR: the sweep's folder, this page's"),
    ]
    blocks += [
        "The figures and this page are made from the stored results alone:",
        Code("lm-lab report DIR    # DIR: this page's folder"),
    ]
    blocks += [
        "The analysis, as the study states it, and the environment in which the sweep was launched:"
    ]
    plain = {
        "analysis": sweep.study.analysis,
        "environment": sweep.study.environment,
        "created": sweep.study.created,
    }
    blocks.append(Code(json.dumps(plain, indent=2, ensure_ascii=False)))
    return [*blocks, "The fitted records behind every number of this page are in analysis.json."]
