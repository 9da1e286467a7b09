"""The text that a run was trained on, as its checkpoints name it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_lab.data.text import Text
from lm_lab.runs import commits, records
from lm_lab.types import UserError

NO_TEXT = ""  # of a model that was trained elsewhere


def text_of(directory: Path) -> str | None:
    """What a run's newest checkpoint says of the text that it was trained on."""
    newest = commits.newest_intact(directory / "checkpoints")
    return commits.read_record(newest, verified=False).extra.get("text")


def check_text(directory: Path, text: Text, extra: Mapping[str, Any]) -> None:
    """Raises UserError where a checkpoint, of which `extra` tells, was trained on other text; it
    names the commits of a hub's data sets that have moved since.
    """
    if extra.get("text") == NO_TEXT:
        raise UserError(
            f"{directory} was trained elsewhere, and holds out no text; evaluate it by --text=FILE "
            "or --tasks"
        )
    if extra.get("text", text.dataset.identity) == text.dataset.identity:
        return
    then, now = records.read_revisions(directory), text.revisions
    moved = [f"--{key}={then[key]}" for key in now if then.get(key, now[key]) != now[key]]
    places = moved or [f"--{key}=..." for key in text.places]
    by = f", by {' '.join(places)}" if places else ""
    raise UserError(
        f"{directory}: config.data gives other text than it was trained on; give it that text{by}, "
        "and the versions in environment.json, or choose another directory"
    )
