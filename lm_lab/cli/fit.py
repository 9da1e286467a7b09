"""lm-lab fit: fit scaling laws to a table of runs from anywhere, with their uncertainty.

  lm-lab fit losses.csv
  lm-lab fit published.csv --columns=params=size:billions,loss=val --workdir=runs/published
  lm-lab fit runs/isoflop

  TABLE                       CSV, TSV, JSON lines, Parquet, or the directory of a sweep
  --law=NAME                  the law; default isoflop: a surface L(N, D) and the valleys of
                              budgets. The others are listed below
  --columns=NAME=COLUMN,...   which column is which, with a unit behind a colon where it is not
                              in the column's name: params=size:millions, loss=bpb:bits/byte.
                              Others are known by their names (N, n_params, tokens, val_loss, ...)
  --rows=COLUMN=VALUE,...     only the rows with these values
  --held_out_budget=FLOPS     a budget that no fit sees, and that is predicted
  --predictor=NAME            by what: surface (the default) or "valley power law"
  --level=SHARE               of the intervals; default 0.9
  --resamples=N               bootstrap resamples; default 1000
  --seed=N                    of the bootstrap; default 0
  --workdir=DIR               for report.html, figures/, analysis.json and the table as it was read

It prints which columns it read and what it assumed. A column of another quantity, in another unit,
or that two columns could be, is an error that says what to add; so is a table too poor for any
answer.
"""

import re
import shlex

from absl import flags

from lm_lab import registry
from lm_lab.cli import arguments
from lm_lab.cli.wrapping import wrapped
from lm_lab.library import laws
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
COLUMNS = flags.DEFINE_string("columns", "", "NAME=COLUMN,...", flag_values=FLAGS)
ROWS = flags.DEFINE_string("rows", "", "COLUMN=VALUE,...", flag_values=FLAGS)
LAW = flags.DEFINE_string("law", "isoflop", "name of a law", flag_values=FLAGS)
HELD_OUT = flags.DEFINE_float("held_out_budget", None, "FLOPs", flag_values=FLAGS)
PREDICTOR = flags.DEFINE_string("predictor", "surface", "of that budget", flag_values=FLAGS)
LEVEL = flags.DEFINE_float("level", 0.9, "of the intervals", flag_values=FLAGS)
RESAMPLES = flags.DEFINE_integer("resamples", 1000, "of the bootstrap", flag_values=FLAGS)
SEED = flags.DEFINE_integer("seed", 0, "of the bootstrap", flag_values=FLAGS)
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the report", flag_values=FLAGS)


def run(argv: list[str]) -> int:
    """Prints the law, and writes its report where asked to. Raises UserError."""
    paths = arguments.parse(FLAGS, argv, "fit")
    if len(paths) != 1:
        raise UserError("name one table, as in: lm-lab fit losses.csv")
    isoflop = {"held_out_budget": HELD_OUT.value, "predictor": PREDICTOR.value}
    law = laws.fit(
        arguments.path(paths[0]),
        LAW.value,
        columns=pairs(COLUMNS.value, "columns"),
        rows=pairs(ROWS.value, "rows"),
        **isoflop,
        level=LEVEL.value,
        resamples=RESAMPLES.value,
        seed=SEED.value,
    )
    print(wrapped(str(law).splitlines()))
    law.check_answered()
    if WORKDIR.value is not None:
        folder = arguments.folder(WORKDIR.value, "runs/fit")
        print(f"report: {law.report(folder, shlex.join(['lm-lab', 'fit', *argv]))}")
    return 0


def pairs(text: str, flag: str) -> dict[str, str]:
    """{"params": "N", "tokens": "D:billions"} of "params=N,tokens=D:billions". Raises UserError."""
    values: dict[str, str] = {}
    for part in re.split(r",(?=[^,=]+=)", text) if text else []:
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UserError(f"--{flag}: {part!r} must be NAME=VALUE, as in --{flag}=params=N")
        if name.strip() in values:
            raise UserError(f"--{flag}: {name.strip()} is given twice; give it once")
        values[name.strip()] = value.strip()
    return values


def _listed() -> str:
    """The laws of other forms, each with its formula and source."""
    forms = [laws.read_form(name) for name in registry.names(laws.FORMS)]
    width = max(len(form.name) for form in forms)
    lines = [f"  {form.name:{width}}  {form.formula}   ({form.source})" for form in forms]
    return wrapped(lines, width + 4)


__doc__ = f"""{__doc__}
Laws by --law=NAME, beside isoflop:

{_listed()}
"""
