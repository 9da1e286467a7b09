"""What came of a sweep, from its run directories alone: the status of every
run, rows, results.csv.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_lab.runs.status import Status, result_of, run_status
from lm_lab.runs.sweep import Planned, Row, read_sweep, run_directory


def status(directory: Path) -> dict[str, Status]:
    """The state of every run of the sweep by name. Missing: never started,
    or stopped on the way.
    """
    return {
        run.name: run_status(run_directory(directory, run.name))
        for run in read_sweep(directory).runs
    }


def collect(directory: Path) -> list[Row]:
    """A row for every run of the sweep, in its order; what a run does not know yet is None.

    name, status, message; a column for every key that any run overrides (the resolved value in runs
    that do not), and for the peak rate; budget_flops; params (N: matmul parameters with the head),
    params_body, params_total; tokens (D); flops (C, counted); loss (nats a token, held out);
    bits_per_byte (held out), and NAME_bits_per_byte for every exam of train.also_evaluate; seconds
    (training) and compile_seconds (apart; None in runs of old, whose seconds hold both). Raises
    UserError where the folder holds no sweep.
    """
    return rows_of(read_sweep(directory).runs, directory)


def rows_of(runs: Sequence[Planned], directory: Path) -> list[Row]:
    """The rows of `collect`, of runs whether they have begun or not."""
    keys = list(
        dict.fromkeys([*(key for run in runs for key in run.overrides), "optimizer.peak_rate"])
    )
    exams = list(
        dict.fromkeys(exam for run in runs for exam in _at(run.config, "train.also_evaluate") or ())
    )
    return [_row(run, keys, exams, run_directory(directory, run.name)) for run in runs]


def _row(run: Planned, keys: list[str], exams: list[str], directory: Path) -> Row:
    result = result_of(directory)
    params, final = result.get("params") or {}, result.get("final") or {}
    state = run_status(directory)
    return {
        "name": run.name,
        "status": state,
        "message": None if state == "running" else result.get("message"),
        **{
            key: run.overrides[key] if key in run.overrides else _at(run.config, key)
            for key in keys
        },
        "budget_flops": _at(run.config, "train.budget_flops"),
        "params": params.get("matmul"),
        "params_body": params.get("matmul_body"),
        "params_total": params.get("total"),
        "tokens": result.get("tokens"),
        "flops": result.get("flops"),
        "loss": final.get("eval/heldout/nll"),
        "bits_per_byte": final.get("eval/heldout/bits_per_byte"),
        **{f"{exam}_bits_per_byte": final.get(f"eval/{exam}/bits_per_byte") for exam in exams},
        "seconds": result.get("seconds"),
        "compile_seconds": result.get("compile_seconds"),
    }


def _at(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
