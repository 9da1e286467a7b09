"""A process finds its place in a launch by flags or by what its launcher says, else it is alone."""

import pytest

from lm_lab.library.cluster import Place, find
from lm_lab.types import UserError

SLURM = {
    "JOB_ID": "7",
    "STEP_NODELIST": "node[3-6]",
    "NTASKS": "4",
    "PROCID": "2",
    "LOCALID": "0",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}


def slurm(**changes: str) -> dict[str, str]:
    return {f"SLURM_{name}": value for name, value in (SLURM | changes).items()}


@pytest.mark.parametrize(
    "environment, place",
    [
        ({}, None),
        (slurm(), Place(None, 4, 2)),
        (slurm(NTASKS="1", PROCID="0"), None),
        (OPEN_MPI, Place(None, 8, 5)),
        # a pod that is no indexed job, whether or not the package that could tell is installed
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
    ],
    ids=["alone", "slurm", "one task of slurm", "open mpi", "a pod"],
)
def test_a_launcher_says_which_process_this_is(monkeypatch, environment, place):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find(None, None, None) == place
    assert find(None, 1, None) is None
    assert find("10.0.0.1:1234", 2, 1) == Place("10.0.0.1:1234", 2, 1)


@pytest.mark.parametrize(
    "flags, message",
    [
        (("10.0.0.1:1234", 2, None), "--process is missing"),
        ((None, 2, 0), "--coordinator is missing"),
        (("10.0.0.1", 2, 0), "--coordinator=10.0.0.1 has no port"),
        (("10.0.0.1:1234", 2, 2), "--process=2 is not among 0 to 1"),
    ],
)
def test_flags_that_do_not_fit_together_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        find(*flags)
