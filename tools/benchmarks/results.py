"""What a measurement says: rows of ours against another's, and the machine that they hold for."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax

from lm_lab.runs.durable import atomic_write

ROOT = Path(__file__).parents[2]


class Row(NamedTuple):
    """One quantity of ours, and of what it is compared with."""

    name: str
    unit: str
    ours: float
    versus: str = ""  # what it is compared with; "": nothing
    theirs: float | None = None
    ratios: Sequence[float] = ()  # in each round, above 1 where ours is better

    @property
    def ratio(self) -> tuple[float, float, float] | None:
        """(median, least, most) of the ratios."""
        if not self.ratios:
            return None
        return statistics.median(self.ratios), min(self.ratios), max(self.ratios)


def rates(
    name: str, unit: str, amount: float, ours: str, seconds: Mapping[str, Sequence[float]]
) -> list[Row]:
    """Rows of `ours` against each other one, of turns that took `seconds` for an `amount` of work;
    one row alone where there is no other.
    """

    def rate(label: str) -> float:
        return amount / statistics.median(seconds[label])

    others = [label for label in seconds if label != ours]
    if not others:
        return [Row(name, unit, rate(ours))]
    return [
        Row(
            name,
            unit,
            rate(ours),
            label,
            rate(label),
            [there / here for here, there in zip(seconds[ours], seconds[label], strict=True)],
        )
        for label in others
    ]


def machine() -> dict[str, Any]:
    """What figures hold for: processor, cores at hand, devices, versions, date and commit."""
    device = jax.devices()[0]
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "device": device.device_kind,
        "devices": jax.device_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # no Linux
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    """The commit, with + where files differ from it; "" outside of a repository."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def record_of(row: Row) -> dict[str, Any]:
    """The row as JSON."""
    ratio = dict(zip(("median", "least", "most"), row.ratio)) if row.ratio else None
    return {**row._asdict(), "ratios": list(row.ratios), "ratio": ratio}


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a record of rows, whole: a kill leaves the former one."""
    atomic_write(path, json.dumps(record, indent=1) + "\n")


def table(about: Mapping[str, Any], rows: Iterable[tuple[str, Row]]) -> str:
    """The rows of all parts, as (part, row), in one table of Markdown."""
    where = f"{about['processor']}, {about['cores']} cores, {about['device']}"
    lines = [
        f"{where}; jax {about['jax']}, Python {about['python']}; {about['date']}, commit "
        f"{about['commit']}, load {about['load']}",
        "",
        "| part | | ours | against | theirs | ratio, median [range] | unit |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *(line(part, row) for part, row in rows)]) + "\n"


def line(part: str, row: Row) -> str:
    """A row of the table."""
    ratio = "{:.2f} [{:.2f}, {:.2f}]".format(*row.ratio) if row.ratio else ""
    theirs = "" if row.theirs is None else number(row.theirs)
    cells = [part, row.name, number(row.ours), row.versus, theirs, ratio, row.unit]
    return f"| {' | '.join(cells)} |"


def number(value: float) -> str:
    """Three digits that count, without an exponent where that is readable."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
