"""What a launch costs grows with its runs, not with their square."""

import io
import json

from lm_lab.contracts import Outcome
from lm_lab.runs import status
from lm_lab.sweeps.algebra import param, product
from lm_lab.sweeps.launch import launch
from tests.sweeps.fakes import resolve, study_of

RESULT = {"status": "complete", "steps": 10, "final": {}, "seconds": 0.5}


class Stubs:
    """An executor whose runs end at once."""

    workers = 1000  # so that a unit is one run

    def run(self, units):
        for unit in units:
            unit.log.parent.mkdir(parents=True)
            (unit.log.parent / "result.json").write_text(json.dumps(RESULT))
            yield Outcome(unit, 0, "")


def test_a_result_is_read_a_few_times_however_many_runs_there_are(tmp_path, monkeypatch):
    reads, read_result = [], status.read_result

    def counted(directory):
        reads.append(directory)
        return read_result(directory)

    monkeypatch.setattr(status, "read_result", counted)

    def reads_a_run(runs):
        study = study_of(product(param("model.width", [2, 4]), param("seed", range(runs // 2))))
        reads.clear()
        summary = launch(
            study,
            tmp_path / str(runs),
            resolve,
            lambda directory, names: ["true"],
            lambda platform, costs: Stubs(),
            environment=lambda: {"command": "", "devices": {"platform": "cpu"}},
            stream=io.StringIO(),
        )
        assert summary.finished
        return len(reads) / runs

    assert reads_a_run(80) < 1.5 * reads_a_run(20)
    assert reads_a_run(40) < 12
