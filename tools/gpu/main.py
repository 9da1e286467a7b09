"""tools/gpu/run: what a GPU must show, as one JSON record a part."""

import argparse
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from tools.benchmarks.results import line, machine, record_of, write_record
from tools.gpu import checks, decoder, families, memory, population, study
from tools.gpu.job import Job, Part, Setting

MODULES = (checks, decoder, families, population, memory, study)
PARTS: dict[str, Part] = {module.__name__.rpartition(".")[2]: module.PART for module in MODULES}


def main(words: Sequence[str] | None = None) -> int:
    """Runs the part that the command line names; the exit code: 0, 1 where a job failed or was left
    out, 2 without a GPU.
    """
    parser = _parser()
    flags = parser.parse_args(words)
    part, setting = PARTS[flags.part], Setting(flags.rehearse, Path(flags.out).absolute())
    jobs = [job for job in part.jobs(setting) if flags.only in job.name]
    if not jobs:
        names = ", ".join(job.name for job in part.jobs(setting))
        parser.error(f"--only={flags.only} names no job of {flags.part}: {names}")
    _share_the_device(part)
    if not flags.rehearse and (why := _no_gpu()):
        print(f"{why}; --rehearse runs the part at tiny sizes on what is there", file=sys.stderr)
        return 2
    setting.out.mkdir(parents=True, exist_ok=True)
    about = {"part": flags.part, "command": " ".join(["tools/gpu/run", *(words or sys.argv[1:])])}
    about |= {"rehearsal": flags.rehearse, "machine": machine() | _versions()}
    path = setting.out / f"{flags.part}.json"
    record = run(jobs, 60 * flags.minutes, about, path)
    print(f"written: {path}")
    if record["failed"] or record["left_out"]:
        count = len(record["failed"]), len(record["left_out"])
        print(f"{count[0]} jobs failed, {count[1]} left out for want of time", file=sys.stderr)
        return 1
    return 0


def run(jobs: Sequence[Job], seconds: float, about: dict[str, Any], path: Path) -> dict[str, Any]:
    """Does the jobs one after another, and none that would end after so many seconds if it took as
    long as the longest so far; the record, which is written after every row, so that what is
    measured is kept.
    """
    begin, longest, rows = time.monotonic(), 0.0, list[dict[str, Any]]()
    record = {**about, "rows": rows, "failed": {}, "left_out": [job.name for job in jobs]}
    write_record(path, record)
    for job in jobs:
        left = seconds - (time.monotonic() - begin)
        if left <= longest:
            break
        try:
            for row in job.work(left):
                rows.append({"job": job.name, **record_of(row)})
                print(line(job.name, row), flush=True)
                write_record(path, record)
        except Exception as error:  # noqa: BLE001 - the other jobs are measured all the same
            traceback.print_exc()
            record["failed"][job.name] = f"{type(error).__name__}: {error}"[:1000]
        record["left_out"].remove(job.name)
        spent = time.monotonic() - begin
        longest = max(longest, spent - (seconds - left))
        record["seconds"] = round(spent, 1)
        write_record(path, record)
    return record


def _share_the_device(part: Part) -> None:
    """Before JAX takes the device: nearly all memory for this process, or none beforehand where
    other processes compute.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "true" if part.alone else "false")
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", ".9")


def _no_gpu() -> str:
    """Why there is no GPU to measure; "": there is one."""
    try:
        platform = jax.default_backend()
    except (RuntimeError, AssertionError):  # what JAX raises where its platform is not there
        return f"no GPU here: JAX finds none with JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')}"
    return "" if platform == "gpu" else f"no GPU here: JAX has found a {platform}"


def _versions() -> dict[str, Any]:
    """What decides a GPU's speed, beside the machine: driver, libraries and settings of JAX."""
    command = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm", "--format=csv,noheader"]
    try:
        driver = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # no NVIDIA driver
        driver = ""
    wheels = {
        each.name: each.version
        for each in metadata.distributions()
        if each.name.startswith(("jax", "nvidia-cudnn", "nvidia-cublas"))
    }
    settings = {name: os.environ[name] for name in os.environ if name.startswith(("XLA", "JAX"))}
    return {"driver": driver, "wheels": wheels, "environment": settings}


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"{name:<12}{part.words}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="tools/gpu/run",
        description="Measures on a GPU what docs/speed.md says of one; nobody need watch it.",
        epilog=f"parts:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--out", default="build/gpu", help="the folder of PART.json")
    words = "in which jobs are to end; the record lists those left out"
    parser.add_argument("--minutes", type=float, default=9.0, help=words)
    parser.add_argument("--only", default="", metavar="TEXT", help="jobs with this in their name")
    words = "tiny sizes on any device, to find errors: the figures say nothing"
    parser.add_argument("--rehearse", action="store_true", help=words)
    return parser
