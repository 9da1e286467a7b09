"""The results of a sweep, from its run directories alone: statuses and rows."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_lab.compute.conventions import CONVENTIONS
from lm_lab.runs.status import Status, result_of, run_status
from lm_lab.runs.sweep import EVALUATED, Planned, Row, read_sweep, run_directory
from lm_lab.values import table_value


def status(directory: Path) -> dict[str, Status]:
    """The status of every run of the sweep, by name. Raises UserError."""
    return {
        run.name: run_status(run_directory(directory, run.name))
        for run in read_sweep(directory).runs
    }


def collect(directory: Path) -> list[Row]:
    """A row for every run of the sweep, in its order; values that are not known yet are None.

    name, status, message; a column for every key that any run overrides (the resolved value in runs
    that do not), and for the peak rate; budget_flops; params (N: matmul parameters with the head),
    params_body, params_total; tokens (D); flops (C, counted); where any run is a branch,
    paid_flops, the part that it computed itself, so that the column adds up to what was spent
    (flops has the trunk's part too, as if the run had been trained in one go); flops_NAME by
    the conventions of compute/conventions.py; loss (held out, nats a token);
    bits_per_byte (held out), and NAME_bits_per_byte for every name in train.also_evaluate; where
    any run has train.selection_batches, selection_loss, selection_bits_per_byte and
    NAME_selection_bits_per_byte, on the text that settings are to be chosen by; where any run
    has a test, test_loss and test_bits_per_byte, and of a mixture heldout_LABEL_bits_per_byte and
    the like of each source; all further metrics by their names in metrics.jsonl, as
    eval/heldout/accuracy, eval/TASK/METRIC and eval/heldout_whole/bits_per_byte; seconds of
    training; compile_seconds (None in runs of early releases, whose seconds include them).
    Raises UserError where the directory holds no sweep.
    """
    return rows_of(read_sweep(directory).runs, directory)


def rows_of(runs: Sequence[Planned], directory: Path) -> list[Row]:
    """The rows of `collect`, for runs whether they have begun or not."""
    keys = list(
        dict.fromkeys([*(key for run in runs for key in run.overrides), "optimizer.peak_rate"])
    )
    objectives = [name for run in runs for name in _at(run.config, "train.also_evaluate") or ()]
    also = list(dict.fromkeys(objectives))
    apart = any(_at(run.config, "train.selection_batches") for run in runs)
    folders = [run_directory(directory, run.name) for run in runs]
    finals = [result_of(folder).get("final") or {} for folder in folders]
    more = _further(finals, also)
    branches = any(_at(run.config, "train.branch_step") for run in runs)
    shared = (keys, also, apart, branches, more)
    return [_row(run, *shared, folder) for run, folder in zip(runs, folders)]


def _further(finals: Iterable[Mapping[str, Any]], also: Sequence[str]) -> dict[str, str]:
    """The further figures that any run has at its end, by column: metrics and tasks by the names
    that they have in metrics.jsonl, losses of the test and of the sources of a mixture.
    """
    found = {}
    known = {
        f"{EVALUATED}{label}{part}/{figure}"
        for label in ("heldout", *also)
        for part in ("", "_selection")
        for figure in ("nll", "bits_per_byte")
    }
    for name in dict.fromkeys(name for final in finals for name in final):
        parts = re.fullmatch(r"eval/(heldout|test)(?:/([^/]+))?/(nll|bits_per_byte)", name)
        if parts and (parts[1] == "test" or parts[2]):
            side, label, figure = parts.groups()
            words = [side, *([label] if label else []), "loss" if figure == "nll" else figure]
            found["_".join(words)] = name
        elif name.startswith(EVALUATED) and name not in known:
            found[name] = name
    return found


def _row(
    run: Planned,
    keys: list[str],
    also: list[str],
    apart: bool,
    branches: bool,
    more: Mapping[str, str],
    directory: Path,
) -> Row:
    result = result_of(directory)
    params, final = result.get("params") or {}, result.get("final") or {}
    state = run_status(directory)
    return {
        "name": run.name,
        "status": state,
        "message": None if state == "running" else result.get("message"),
        **{
            key: table_value(run.overrides[key] if key in run.overrides else _at(run.config, key))
            for key in keys
        },
        "budget_flops": _at(run.config, "train.budget_flops"),
        "params": params.get("matmul"),
        "params_body": params.get("matmul_body"),
        "params_total": params.get("total"),
        "tokens": result.get("tokens"),
        "flops": result.get("flops"),
        **({"paid_flops": result.get("paid_flops", result.get("flops"))} if branches else {}),
        **_by_convention(result),
        "loss": final.get("eval/heldout/nll"),
        "bits_per_byte": final.get("eval/heldout/bits_per_byte"),
        **{f"{name}_bits_per_byte": final.get(f"eval/{name}/bits_per_byte") for name in also},
        **(_selection(final, also) if apart else {}),
        **{column: final.get(figure) for column, figure in more.items()},
        "seconds": result.get("seconds"),
        "compile_seconds": result.get("compile_seconds"),
    }


def _by_convention(result: Mapping[str, Any]) -> Row:
    """The FLOPs of the run as other papers count them; None where the run does not say."""
    per_token, tokens = result.get("flops_per_token") or {}, result.get("tokens")
    return {f"flops_{name}": _product(per_token.get(name), tokens) for name in CONVENTIONS}


def _product(each: float | None, tokens: float | None) -> float | None:
    return None if each is None or tokens is None else each * tokens


def _selection(final: Mapping[str, Any], also: list[str]) -> Row:
    """The losses on the text that is for choosing settings."""
    return {
        "selection_loss": final.get("eval/heldout_selection/nll"),
        "selection_bits_per_byte": final.get("eval/heldout_selection/bits_per_byte"),
        **{
            f"{name}_selection_bits_per_byte": final.get(f"eval/{name}_selection/bits_per_byte")
            for name in also
        },
    }


def _at(config: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key, None where there is none."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
