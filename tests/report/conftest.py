"""A sweep directory on a planted surface, as `lm-lab sweep` leaves one: with failed and diverged
runs in it.
"""

import csv
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lm_lab.report import write

# Near the study of a laptop: best losses 1.98, 1.75, 1.53 at 1e11, 3e11, 1e12 FLOPs, N* ~ C^.55.
E, A, B, ALPHA, BETA = 0.63, 14.97, 142.8, 0.32, 0.39
SIZES = (0.35, 0.55, 0.8, 1.25, 1.9, 3.0)
KEYS = ("model.width", "optimizer.peak_rate", "seed", "train.budget_flops")


def surface(params: float, tokens: float) -> float:
    """The planted loss in nats a token."""
    return E + A * params**-ALPHA + B * tokens**-BETA


def write_sweep(
    directory: Path,
    *,
    budgets: Sequence[float] = (1e11, 3e11, 1e12, 3e12),
    sizes: Sequence[float] = SIZES,
    rates: Sequence[float] = (0.5, 1.0, 2.0),
    seeds: int = 2,
    analysis: dict[str, Any] | None = None,
    question: str = "How should compute be split between parameters and data, for a small "
    "byte-level decoder?",
    name: str = "isoflop_demo",
    message: str = "worker was killed by signal 9 <out of memory>",
    curves: bool = True,
    rows: list[dict[str, Any]] | None = None,
    keys: Sequence[str] = KEYS,
) -> Path:
    """Write sweep.json, results.csv and the run directories of a fake sweep, its rows given or
    planted; its path.
    """
    rows = rows or _planted(budgets, sizes, rates, seeds, message)
    runs = []
    for row in rows:
        config = {"seed": row["seed"], "data": {"tokenizer": {"name": "byte"}}}
        runs.append(
            {"name": row["name"], "overrides": {key: row[key] for key in keys}, "config": config}
        )
        _write_run(directory / "runs" / row["name"], row, curves)
    study = {
        "name": name,
        "question": question,
        "command": "lm-lab sweep experiments/isoflop_demo --workdir=runs/isoflop",
        "analysis": analysis or {"kind": "isoflop", "held_out_budget": 3e12, "draws": 40},
        "runs": runs,
        "environment": {
            "python": "3.11.9",
            "versions": {"jax": "0.10.2", "flax": "0.12.8"},
            "devices": ["cpu:0"],
        },
        "created": "2026-11-21T02:12:00+00:00",
    }
    (directory / "sweep.json").write_text(json.dumps(study))
    with (directory / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return directory


def _planted(
    budgets: Sequence[float],
    sizes: Sequence[float],
    rates: Sequence[float],
    seeds: int,
    message: str,
) -> list[dict[str, Any]]:
    noise = np.random.default_rng(0)
    rows = []
    for budget in budgets:
        for size in sizes:
            for rate in rates:
                for seed in range(seeds):
                    rows.append(_row(len(rows), budget, size, rate, seed, noise))
    for index, status, why in ((4, "diverged", "loss is nan at step 412"), (-1, "failed", message)):
        if index < len(rows) - 1:
            rows[index] |= {"status": status, "message": why, "loss": None, "bits_per_byte": None}
    return rows


def _row(
    index: int, budget: float, size: float, rate: float, seed: int, noise: np.random.Generator
) -> dict[str, Any]:
    target = 1.2e4 * (budget / 1e11) ** 0.55 * size
    width = max(4, 2 * round((-256 + math.sqrt(256**2 + 96 * target)) / 96))
    params = 24 * width**2 + 256 * width
    tokens = 1024 * round(budget / (6 * params * 1.15) / 1024)
    loss = (
        surface(params, tokens)
        * (1 + 0.012 * math.log2(rate * 1.2) ** 2)
        * (1 + 0.008 * noise.standard_normal())
    )
    return {
        "name": f"{index:012x}",
        "status": "complete",
        "message": "",
        "model.width": width,
        "optimizer.peak_rate": round(0.3 / width * rate, 6),
        "seed": seed,
        "train.budget_flops": budget,
        "budget_flops": budget,
        "params": params,
        "params_body": 24 * width**2,
        "params_total": params + 320 * width,
        "tokens": tokens,
        "flops": 6.9 * params * tokens,
        "loss": loss,
        "bits_per_byte": loss / math.log(2),
        "seconds": 1.7e-11 * budget + 2.5,
        "compile_seconds": 6.5,
    }


def _write_run(directory: Path, row: dict[str, Any], curves: bool) -> None:
    directory.mkdir(parents=True)
    per_token = {
        "counted": 6.9 * row["params"],
        "6N_body": 6 * row["params_body"],
        "6N_matmul": 6 * row["params"],
    }
    result = {
        "status": row["status"],
        "steps": int(row["tokens"] // 1024),
        "tokens": row["tokens"],
        "flops": row["flops"],
        "flops_per_token": per_token,
        "params": {"total": row["params_total"], "matmul": row["params"]},
        "final": {} if row["loss"] is None else {"eval/heldout/nll": row["loss"]},
        "seconds": row["seconds"],
        "compile_seconds": row.get("compile_seconds"),
        "tokens_per_second": row["tokens"] / row["seconds"],
        "message": row["message"],
    }
    (directory / "result.json").write_text(json.dumps(result))
    if curves and row["loss"] is not None:
        (directory / "metrics.jsonl").write_text("".join(_curve(row)))


def _curve(row: dict[str, Any]) -> list[str]:
    lines = []
    for share in np.geomspace(0.02, 1, 12):
        flops = row["flops"] * share
        loss = row["loss"] + 0.55 * (share**-0.35 - 1)
        lines.append(
            json.dumps({"step": int(900 * share), "flops": flops, "tokens": 1, "train/nll": loss})
            + "\n"
        )
    return lines


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep, its report not yet written. Tests must not write into it."""
    return write_sweep(tmp_path_factory.mktemp("isoflop"))


@pytest.fixture(scope="session")
def report(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a written report."""
    directory = tmp_path_factory.mktemp("report") / "isoflop"
    shutil.copytree(sweep, directory)
    assert write(directory) == directory / "report.html"
    return directory
