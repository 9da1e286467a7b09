"""lm-lab data: the published data sets that configs read, and how to get them.

  lm-lab data list                    # origin, licence, size, what uses it, whether it is here
  lm-lab data fetch scan multi30k     # from their origins; verified by SHA-256

They are kept in the folder data, or that in LM_LAB_DATA. A download that breaks off goes on when
the command is given again. Without a network it says which file of which origin belongs where.
"""

from absl import flags

from lm_lab.cli import arguments
from lm_lab.cli.wrapping import wrapped
from lm_lab.data.fetching import fetch
from lm_lab.data.published import PublishedSet, folder, sets
from lm_lab.schema import suggest
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
HEADER = ("name", "here", "size", "licence")


def run(argv: list[str]) -> int:
    """Prints the table, or fetches. Raises UserError."""
    action, *names = arguments.parse(FLAGS, argv, "data") or [""]
    if action == "list" and not names:
        print(table())
        return 0
    if action != "fetch" or not names:
        raise UserError("say lm-lab data list, or lm-lab data fetch NAME; see lm-lab data --help")
    published = sets()
    for name in names:
        if name not in published:
            raise UserError(
                f"lm-lab data fetch: no data set {name!r}; {suggest(name, list(published))}"
            )
    for name in names:
        files = fetch(published[name])
        print(f"{name}: {len(files)} files in {folder() / name}, verified", flush=True)
    return 0


def table() -> str:
    """The data sets, and where they are expected."""
    rows = [HEADER, *map(_row, sets().values())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    cells = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    ]
    uses = [f"    from {each.origin}, for {', '.join(each.used_by)}" for each in sets().values()]
    lines = [line for both in zip(cells[1:], uses) for line in both]
    return wrapped([cells[0], *lines, f"in {folder().absolute()} (LM_LAB_DATA)"])


def _row(published: PublishedSet) -> tuple[str, ...]:
    files_here = sum(published.is_here(file) for file in published.files)
    here = (
        "yes"
        if files_here == len(published.files)
        else f"{files_here} of {len(published.files)}"
        if files_here
        else "no"
    )
    size = f"{sum(file.bytes for file in published.files) / 1e6:.1f} MB"
    return published.name, here, size, published.licence
