"""Results of sweeps as one table with typed columns: rows for data frames, Parquet, and SQL."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_lab.runs import durable
from lm_lab.runs.sweep import Row, sweeps_below
from lm_lab.sweeps.results import collect
from lm_lab.types import UserError
from lm_lab.values import table_value

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

PARQUET = "results.parquet"


def results(folder: str | Path) -> list[Row]:
    """The runs of a sweep, or of all sweeps right below a folder: a row a run, whether it has ended
    or not, in the order of the sweeps' names and of their runs.

    The columns are "sweep" (the name of its folder), those of results.csv, and of several sweeps
    all that any has; None stands for what a run has not. pandas.DataFrame, polars.DataFrame and
    lm_lab.fit take the rows. Raises UserError where there is no sweep.

    >>> [(row["sweep"], row["status"]) for row in lm_lab.results("runs/rates")]
    [('rates', 'complete'), ('rates', 'complete')]
    """
    place = Path(folder).expanduser()
    found = sweeps_below(place)
    if not found:
        raise UserError(f"{place}: no sweep.json here, nor in a folder right below; name a sweep")
    rows = [{"sweep": sweep.resolve().name, **row} for sweep in found for row in collect(sweep)]
    columns = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in columns} for row in rows]


def arrow(rows: Sequence[Row]) -> "pa.Table":
    """The rows as a table: a column holds numbers, truth values, or text where it is mixed."""
    import pyarrow as pa  # takes a third of a second

    columns = {key: _typed(key, [row.get(key) for row in rows]) for key in rows[0]}
    return pa.table({key: pa.array(values, kind) for key, (values, kind) in columns.items()})


def _typed(key: str, values: list[Any]) -> tuple[list[Any], Any]:
    """The values of a column as those of one type of Arrow's."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return values, pa.bool_()
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in values if value is not None):
        return values, pa.int64()
    if kinds <= {int, float} and key != "message":
        return [None if value is None else float(value) for value in values], pa.float64()
    return [None if value is None else str(table_value(value)) for value in values], pa.string()


def write_parquet(directory: Path, rows: Sequence[Row]) -> None:
    """Writes results.parquet, the typed twin of results.csv, atomically. Raises UserError."""
    import pyarrow as pa
    from pyarrow import parquet

    buffer = pa.BufferOutputStream()
    parquet.write_table(arrow(rows), buffer)
    path = directory / PARQUET
    with durable.explained(path, "write it"):
        durable.replace(path, buffer.getvalue().to_pybytes())


def query(rows: Sequence[Row], sql: str) -> "duckdb.DuckDBPyRelation":
    """What DuckDB answers to SQL over the table `runs`. Raises UserError for what it refuses."""
    try:
        import duckdb
    except ImportError:
        raise UserError(
            'lm-lab query needs duckdb; install it with pip install "lm_lab[query]"'
        ) from None
    # Otherwise a name that is no table may mean a variable of this program.
    connection = duckdb.connect(":memory:", config={"python_enable_replacements": "false"})
    connection.register("runs", arrow(rows))
    try:
        found = connection.sql(sql)
    except duckdb.Error as error:
        raise UserError(f"DuckDB refuses {sql!r}: {' '.join(str(error).split())}") from None
    if found is None:
        raise UserError(f"{sql!r} asks for nothing; select something from runs")
    return found
