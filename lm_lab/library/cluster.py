"""Joins the processes that a launcher (Slurm, Open MPI, a TPU pod, GKE) or the user has started on
several hosts into one launch.
"""

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
from collections.abc import Iterator
from typing import NamedTuple

import jax
from jax._src.clusters import ClusterEnv  # what jax.distributed.initialize asks

from lm_lab.runs import peers
from lm_lab.train.liveness import Liveness
from lm_lab.train.preemption import NUMBERS, RESUME, Signals
from lm_lab.types import UserError

START_SECONDS = 300  # for all processes to be started
END_SECONDS = 10  # that a process which ends waits for the others
DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


class Place(NamedTuple):
    """A process among those of a launch."""

    coordinator: str | None  # the first process, as ADDRESS:PORT; None: as the launcher says
    processes: int
    process: int


def find(coordinator: str | None, processes: int | None, process: int | None) -> Place | None:
    """The place of this process: by the flags, or by the variables of a launcher; None where it is
    the only one. Raises UserError for flags that do not fit together.
    """
    given = {"coordinator": coordinator, "processes": processes, "process": process}
    absent = [name for name, value in given.items() if value is None]
    if processes == 1:
        return None
    if len(absent) == 3:
        return _detected()
    if absent:
        raise UserError(f"--{absent[0]} is missing; give all of --{', --'.join(given)}, or none")
    assert coordinator is not None
    assert processes is not None
    assert process is not None
    if not 0 <= process < processes:
        raise UserError(f"--process={process} is not among 0 to {processes - 1}")
    if not coordinator.rpartition(":")[2].isdigit():
        raise UserError(f"--coordinator={coordinator} has no port, as in 10.0.0.1:1234")
    return Place(coordinator, processes, process)


def _detected() -> Place | None:
    """The place that the environment of a launcher gives."""
    found = (each for each in ClusterEnv._cluster_types if not each.opt_in_only_method)
    environment = next((each for each in found if _is_here(each)), None)
    if environment is None or environment.get_process_count() == 1:
        return None
    return Place(None, environment.get_process_count(), environment.get_process_id())


def _is_here(environment: type[ClusterEnv]) -> bool:
    # A pod of Kubernetes need not be a job of several: without the package that could tell, it is
    # not, and JAX's warning would be of no use.
    if environment.__name__ == "K8sCluster" and "JOB_COMPLETION_INDEX" not in os.environ:
        return False
    return environment.is_env_present()


@contextlib.contextmanager
def joined(place: Place | None, launch: str) -> Iterator[None]:
    """The block runs in all processes of a launch, as parts of one JAX program; alone, as it is.

    `launch` says what is launched, and must be the same in all: UserError. The process that the
    launcher has started only waits: JAX aborts a process whose coordinator is gone, and what the
    launcher is to see is the code RESUME.
    """
    if place is None:
        yield
        return
    _supervise()
    with Signals("leave"):  # the thread that listened is not in this process
        _initialize(place)
        patience = END_SECONDS
        try:
            with Liveness() as liveness:
                try:
                    with liveness.explains():
                        _check_same(launch)
                        yield
                    patience = peers.MOST_SECONDS  # the first may still have much to write
                finally:
                    sys.stdout.flush()
                    peers.meet("end", patience)
        finally:
            jax.distributed.shutdown()


def _initialize(place: Place) -> None:
    faulthandler.enable()  # shows all stacks where JAX aborts
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from us
    try:
        jax.distributed.initialize(
            *place,
            # what the flags say is all; a launcher also says which GPU is whose
            cluster_detection_method="deactivate" if place.coordinator else None,
            initialization_timeout=START_SECONDS,
            shutdown_timeout_seconds=END_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the {place.processes} processes of the launch do not find one another "
            f"({' '.join(str(error).split())}); check the address of the coordinator"
        ) from None


def _check_same(launch: str) -> None:
    if len(set(peers.gather(launch))) > 1:
        raise UserError(
            f"the {peers.count()} processes of the launch were given unlike configs or folders; "
            "give the same, or --processes=1 to train a run in each"
        )


def _supervise() -> None:
    """Returns in a child; here it waits for its end, hands signals on, and ends with its code."""
    child = os.fork()
    if not child:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
        return
    signal.set_wakeup_fd(-1)  # what listened to signals so far would end this process
    for number in NUMBERS:
        signal.signal(number, lambda number, _: os.kill(child, number))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(RESUME if code == -signal.SIGABRT else code if code >= 0 else 128 - code)
