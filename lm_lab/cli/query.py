"""lm-lab query: ask SQL of the runs of sweeps, also while they go on.

  lm-lab query runs
  lm-lab query runs/isoflop 'select "model.width", min(loss) from runs group by all order by 2'
  lm-lab query runs 'from runs select sweep, name, message where status = $$failed$$' --csv

  DIR                         the directory of a sweep, or a folder of such directories
  SQL                         DuckDB's, over the table `runs`: a row a run, the columns of
                              results.csv and `sweep`, the name of the sweep's folder; names with
                              dots and slashes stand in double quotes
  --csv                       print CSV, every row whole

Without SQL it lists the columns with their types and how many runs have a value there. Needs
pip install "lm_lab[query]". The same rows in Python: lm_lab.results(DIR).
"""

import csv
import sys

from absl import flags

from lm_lab.cli import arguments
from lm_lab.sweeps import tables
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
CSV = flags.DEFINE_bool("csv", False, "print CSV", flag_values=FLAGS)


def run(argv: list[str]) -> int:
    """Prints the answer. Raises UserError."""
    operands = arguments.parse(FLAGS, argv, "query")
    if not 1 <= len(operands) <= 2:
        raise UserError("name a folder, and SQL in quotes, as in: lm-lab query runs 'from runs'")
    rows = tables.results(arguments.path(operands[0]))
    if len(operands) == 1:
        print("\n".join(_columns(rows)))
        return 0
    answer = tables.query(rows, operands[1])
    if CSV.value:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows(answer.fetchall())
    else:
        print(answer)
    return 0


def _columns(rows: list[tables.Row]) -> list[str]:
    """A line a column of the table `runs`: name, type, number of values."""
    table = tables.arrow(rows)
    width = max(len(name) for name in table.column_names)
    return [
        f"{name:{width}}  {table.schema.field(name).type!s:7}  "
        f"{len(rows) - table[name].null_count} of {len(rows)} runs"
        for name in table.column_names
    ]
