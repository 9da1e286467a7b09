"""tools/bench: the measurements of docs/speed.md, as one JSON record and one table."""

import argparse
import importlib
import sys
import traceback
from pathlib import Path
from typing import Any

from tools.benchmarks.results import Row, line, machine, record_of, table, write_record

PARTS = ("training", "loop", "compiling", "data", "generation", "launch", "population", "surface")


def main() -> int:
    """Runs the parts that the command line names; the exit code, 1 where one of them failed.

    After each part it writes both files anew, so that what is measured is kept.
    """
    modules = {name: importlib.import_module(f"tools.benchmarks.{name}") for name in PARTS}
    parser = _parser(modules)
    flags = parser.parse_args()
    if unknown := sorted({*flags.parts} - {*PARTS}):
        parser.error(f"no part {unknown[0]!r}; give some of {', '.join(PARTS)}")
    flags.rounds = 1 if flags.quick else flags.rounds
    out = Path(flags.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    about, rows, failed = machine(), list[tuple[str, Row]](), list[str]()
    for part in flags.parts or PARTS:
        try:
            for row in modules[part].run(flags):
                rows.append((part, row))
                print(line(part, row), flush=True)
        except Exception:  # noqa: BLE001 - the other parts are measured all the same
            traceback.print_exc()
            failed.append(part)
        record = {"command": " ".join(sys.argv), "machine": about, "failed": failed}
        record |= {"rows": [{"part": name, **record_of(row)} for name, row in rows]}
        write_record(out.with_suffix(".json"), record)
        out.with_suffix(".md").write_text(table(about, rows))
    print(f"written: {out.with_suffix('.json')} and {out.with_suffix('.md')}")
    if failed:
        print(f"failed: {', '.join(failed)}; see above", file=sys.stderr)
    return 1 if failed else 0


def _parser(modules: dict[str, Any]) -> argparse.ArgumentParser:
    listed = [f"{name}: {(modules[name].__doc__ or '').strip()}" for name in PARTS]
    parser = argparse.ArgumentParser(
        prog="tools/bench",
        description="Measures parts of lm_lab against others, the sides in turns.",
        epilog="parts, all by default:\n\n" + "\n\n".join(listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=5, help="in which the sides alternate")
    parser.add_argument("--out", default="build/bench", help="the two files, without their ending")
    quick = "the smallest sizes, in a minute or two: a rehearsal, whose figures say nothing"
    parser.add_argument("--quick", action="store_true", help=quick)
    for name, module in modules.items():
        module.add_flags(parser.add_argument_group(name))
    return parser
