"""Weights & Biases beside metrics.jsonl, where LM_LAB_WANDB names a project (the extra `wandb`).

Whether it goes to a server or into the run's folder wandb/ is W&B's to say (WANDB_MODE=offline). A
run that is resumed goes on in the same W&B run, whose id is in the file wandb.id.
"""

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_lab.runs.durable import atomic_write
from lm_lab.types import UserError

PROJECT = "LM_LAB_WANDB"
ID = "wandb.id"


def check() -> None:
    """Raises UserError where W&B is asked for and not installed."""
    if project() and importlib.util.find_spec("wandb") is None:
        raise UserError(
            f'{PROJECT} is set, and wandb is not installed: pip install "lm_lab[wandb]", or unset '
            "it"
        )


def project() -> str | None:
    """The project that is asked for; None: W&B is not."""
    return os.environ.get(PROJECT) or None


class Tracker:
    """The W&B run of a run, in a project.

    `records` are the lines of metrics.jsonl so far: W&B has them already, unless this is its first
    start. `settings` of the run, by dotted key, are its config there. Raises what W&B raises.
    """

    def __init__(
        self,
        directory: Path,
        project: str,
        records: Sequence[Mapping[str, Any]],
        settings: Mapping[str, Any],
    ) -> None:
        import wandb

        file = directory / ID
        is_first = not file.exists()
        if is_first:
            atomic_write(file, f"{os.urandom(8).hex()}\n")
        self._run: Any = wandb.init(
            project=project,
            id=file.read_text().strip(),
            name=directory.name,
            group=_sweep(directory),
            dir=str(directory),
            config=dict(settings),
            resume="allow",
            reinit="create_new",  # runs that are trained together have one each
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )
        for record in records if is_first else ():
            self.write(record)

    def write(self, record: Mapping[str, Any]) -> None:
        """Sends a record of metrics.jsonl."""
        values = {name: value for name, value in record.items() if name != "step"}
        self._run.log(values, step=record["step"])

    def close(self) -> None:
        """Ends the W&B run, whose summary has the newest value of every metric."""
        self._run.finish()


def _sweep(directory: Path) -> str | None:
    """The study of which the directory is a run; None for a run of its own."""
    file = directory.parents[1] / "sweep.json" if len(directory.parents) > 1 else None
    if file is None or not file.is_file():
        return None
    try:
        return str(json.loads(file.read_text())["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
