"""What `lm-lab plan` says of bytes and time against what the device shows, for decoders, batch
sizes and policies of remat.

A process for each, since a device does not forget its peak. The time is planned at the utilisation
that the same size shows with its first batch and no remat.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax

from lm_lab.compute.memory import compiled_memory
from tools.benchmarks.results import ROOT, Row
from tools.benchmarks.trainer import Trainer
from tools.gpu import decoder
from tools.gpu.decoder import Size
from tools.gpu.job import Job, Part, Setting
from tools.gpu.program import round_of

ROWS = {"124M": (16, 8, 32), "350M": (8, 4, 16), "760M": (8, 4, 12), "1.3B": (4, 2, 8)}
REMATS = ("none", "full")


def jobs(setting: Setting) -> list[Job]:
    """A job for each size, batch and policy, the first batch of every size before the others."""
    sizes = decoder.TINY if setting.rehearse else decoder.SIZES
    rows_of = {size.name: (2,) if setting.rehearse else ROWS[size.name] for size in sizes}
    paces: dict[str, float] = {}  # FLOP/s by size
    return [
        Job(
            f"{size.name}, {rows_of[size.name][index]} rows, remat {remat}",
            partial(compare, size, rows_of[size.name][index], remat, setting.rehearse, paces),
        )
        for index in range(max(map(len, rows_of.values())))
        for size in sizes
        for remat in REMATS
    ]


def compare(
    size: Size, rows: int, remat: str, rehearse: bool, paces: dict[str, float], left: float
) -> Iterator[Row]:
    """Rows of a cell, from a process of its own, which is ended after the seconds that are left."""
    words = json.dumps({"size": size, "rows": rows, "remat": remat, "rehearse": rehearse})
    command = [sys.executable, "-m", "tools.gpu.memory", words]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False, timeout=left
    )
    if done.returncode:
        raise RuntimeError(f"the process ended with exit code {done.returncode}; see above")
    yield from rows_of(size.name, json.loads(done.stdout.splitlines()[-1]), paces)


def rows_of(size: str, said: dict[str, Any], paces: dict[str, float]) -> Iterator[Row]:
    """Planned bytes and seconds against those of the device; ratios are planned / shown."""
    planned, shown = said["planned_bytes"], said["shown_bytes"]
    if shown:
        yield Row(
            "peak bytes, planned", "GB", planned / 1e9, "shown", shown / 1e9, [planned / shown]
        )
    else:
        yield Row("peak bytes, planned", "GB", planned / 1e9)
    pace = paces.setdefault(size, said["flops"] / said["seconds"])
    seconds = said["flops"] / pace
    ratios = [seconds / said["seconds"]]
    yield Row("a step, planned", "s", seconds, "shown", said["seconds"], ratios)


def show(size: Size, rows: int, remat: str, rehearse: bool) -> dict[str, Any]:
    """What is planned of a cell, and what the device shows after two calls: bytes, FLOPs of a step
    and its seconds. `shown_bytes` is None where the device does not say.
    """
    changes = {"train.batch_size": rows, "model.remat": remat, "model.scan": True}
    config = decoder.config_of(size, rehearse, **changes)
    trainer = Trainer(config)
    step = trainer.program.engine.step.compile(trainer.state, trainer.examples)
    plan = compiled_memory(step)

    def call() -> None:
        jax.block_until_ready(trainer.call())

    call()
    seconds = round_of(call, 0.0 if rehearse else 2.0) / trainer.steps
    stats = jax.local_devices()[0].memory_stats() or {}
    return {
        "planned_bytes": plan.peak if plan else 0,
        "shown_bytes": stats.get("peak_bytes_in_use"),
        "flops": trainer.program.program.flops_per_step,
        "seconds": seconds,
    }


def main() -> None:
    """Prints what a cell shows, as the last line of stdout."""
    wanted = json.loads(sys.argv[1])
    print(json.dumps(show(**wanted | {"size": Size(*wanted["size"])})), flush=True)


PART = Part(jobs, "planned bytes and time against the device's, by size, batch, remat", alone=False)

if __name__ == "__main__":
    main()
