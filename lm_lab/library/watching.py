"""A sweep as it stands, as lines for a terminal and as a page that refreshes itself."""

from pathlib import Path

from lm_lab.report import formatting
from lm_lab.report.page import Cell, Notice, Number, Report, Section, Table, render
from lm_lab.runs.status import Status
from lm_lab.sweeps.overview import Overview, RunView
from lm_lab.sweeps.progress import clock

STATES: tuple[Status, ...] = (
    "complete",
    "running",
    "pruned",
    "failed",
    "diverged",
    "missing",
)
ORDER: tuple[Status, ...] = (  # of the table
    "running",
    "missing",
    "failed",
    "diverged",
    "complete",
    "pruned",
)
WORDS = {"missing": "waiting"}  # for a person


def lines(found: Overview) -> list[str]:
    """What is done and left, the runs under way, the best so far, and what failed."""
    text = [f"{found.name}: {_counts(found)}", f"  {_progress(found)}"]
    if best := found.best:
        bits = f"{best.bits_per_byte:.4f} bits/byte"
        text.append(f"  best so far {bits}: {best.name} ({best.varied})")
    if running := found.having("running"):
        rows = [["run", "done", "loss", "varied"], *(_row(run) for run in running)]
        text += [f"  {line}" for line in formatting.aligned(rows)]
    for run in found.having("failed", "diverged"):
        text.append(f"  {run.status}: {run.name} ({run.varied}): {run.message}")
    return text


def page(found: Overview, refresh: float | None) -> str:
    """One HTML file; a browser loads it again after `refresh` seconds."""
    answer = [f"{_counts(found)}. {_progress(found)}."]
    if best := found.best:
        answer.append(f"Best so far: {best.bits_per_byte:.4f} bits per byte, {best.varied}.")
    failed = [
        Notice(f"{run.status}: {run.name}", f"{run.varied}: {run.message}", bad=True)
        for run in found.having("failed", "diverged")
    ]
    sections = [Section("Failed and diverged", failed)] if failed else []
    sections.append(Section("Runs", [_table(found)]))
    report = Report(answer, sections=sections)
    kicker = "Sweep, as it stands"
    facts = [("of the compute is paid", f"{found.share:.0%}")]
    return render(found.name, found.question, facts, report, Path(), kicker=kicker, refresh=refresh)


def _table(found: Overview) -> Table:
    rows: list[list[Cell]] = [
        [
            run.name,
            WORDS.get(run.status, run.status),
            Number(f"{run.share:.0%}", run.share),
            None if run.loss is None else Number(f"{run.loss:.3f}", run.loss),
            None
            if run.bits_per_byte is None
            else Number(f"{run.bits_per_byte:.4f}", run.bits_per_byte),
            run.varied,
        ]
        for status in ORDER
        for run in found.runs
        if run.status == status
    ]
    header = ["run", "status", "done", "training loss", "bits/byte", "varied"]
    return Table(header, rows, sortable=True)


def _row(run: RunView) -> list[str]:
    loss = "" if run.loss is None else f"{run.loss:.3f}"
    return [run.name, f"{run.share:.0%}", loss, run.varied]


def _counts(found: Overview) -> str:
    counts = {state: len(found.having(state)) for state in STATES}
    words = [f"{count} {WORDS.get(state, state)}" for state, count in counts.items() if count]
    return f"{formatting.many(len(found.runs), 'run')}: {', '.join(words)}"


def _progress(found: Overview) -> str:
    left = found.seconds_left
    if found.is_over:
        time = "over"
    elif left is not None:
        time = f"{clock(left)} left"
    else:
        time = "time left not known yet" if found.having("running") else "nothing is under way"
    return f"{found.share:.0%} of the compute, {time}"
