"""Published tables fitted again return the figures of their papers (experiments/published.py)."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "published.py"


@pytest.mark.data
def test_published_figures_lie_inside_our_intervals(shared_data):
    script = runpy.run_path(str(SCRIPT))
    folder = shared_data / "scaling"
    cases = {case.name: case for case in script["CASES"] if (folder / case.file).is_file()}
    exact = script["fitted"](cases.pop("exact surface"), folder, resamples=20)
    for name, planted in script["PLANTED"].items():
        assert exact[name].value == pytest.approx(planted, rel=1e-6)
    for case in cases.values():
        found = script["fitted"](case, folder, resamples=100) if case.published else {}
        for name, published in case.published.items():
            assert found[name].low < published < found[name].high, (case.name, name)
