"""One tiny run and one tiny sweep, which all examples of the library share."""

import contextlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

import lm_lab
from lm_lab.sweeps.algebra import param

GUIDE = Path(lm_lab.__path__[0]).parent / "docs/library.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


class Place(NamedTuple):
    """A folder with the guide's run in runs/tiny, and its sweep in runs/rates."""

    folder: Path
    config: dict[str, Any]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The run that the guide begins with, and its sweep, trained once."""
    folder, names = tmp_path_factory.mktemp("library"), {}
    with contextlib.chdir(folder):
        exec(compile(BLOCKS[0], str(GUIDE), "exec"), names)
    study = lm_lab.Study(
        name="rates",
        question="Which peak rate is best?",
        base=lm_lab.load_config(names["tiny"]),
        sweep=param("optimizer.peak_rate", [0.01, 0.02]),
        analysis={"kind": "isoflop"},
    )
    lm_lab.run_study(study, folder / "runs/rates", executor="here")
    return Place(folder, names["tiny"])


@pytest.fixture
def names(place: Place, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What examples may use without saying so; they run where the run and the sweep are."""
    monkeypatch.chdir(place.folder)
    return {"lm_lab": lm_lab, "jax": jax, "jnp": jnp, "tiny": place.config}
