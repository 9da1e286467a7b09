"""Tasks of a Ray cluster (1712.05889), one a unit; the launcher waits for them and retries.

A task runs the unit's command in a process of its own, pinned to cores of its node. The sweep's
folder and the launcher's Python must be on a file system that the nodes share. Ray retries nothing:
a unit that was pre-empted, killed or lost with its worker or node begins again here, a bounded
number of times, from its runs' checkpoints. Needs the extra `ray`.
"""

import contextlib
import dataclasses
import logging
import os
import signal
import socket
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from lm_lab.contracts import Executor, Outcome, Unit
from lm_lab.data.extras import imported
from lm_lab.runs.durable import explained, make_folder
from lm_lab.runs.records import usable_cores
from lm_lab.schema import setting
from lm_lab.sweeps import process
from lm_lab.sweeps.executors import next_ready
from lm_lab.sweeps.executors.local import CHILD, GRACE_SECONDS, explain, said_since
from lm_lab.train.preemption import NUMBERS, RESUME
from lm_lab.types import UserError

# Exit codes after which a run goes on: it says so, or was ended before it could.
AGAIN = (RESUME, -signal.SIGTERM, -signal.SIGKILL)
LOOK_SECONDS = 0.2  # between two looks at the files that units wait for
CONNECT_SECONDS = 10.0  # for an answer of the address
STORE_BYTES = 80_000_000  # of Ray's shared memory, which nothing uses: about the least it takes
# Variables of the launcher that go along; the rest of the environment is the node's.
SENT = ("LM_LAB_", "JAX_", "XLA_", "WANDB_", "PYTHONPATH")
CONNECT_TRIES = "2"  # of 40 seconds, at an address that is no Ray; Ray takes 14 minutes otherwise
TOKEN = (
    "it asks for a token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN where the token in "
    "~/.ray/auth_token is not that of the cluster"
)


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of the executor."""

    address: str | None = setting(
        "of the cluster, as 10.0.0.1:6379, or auto for the one that runs on this machine; None: "
        "RAY_ADDRESS, else a cluster of this machine alone, for as long as the launch",
        None,
    )
    workers: int | None = setting(
        "runs at a time; None: as many as the nodes have room for", None, low=1
    )
    cpus: int = setting("cores of a run, to which it is pinned", 1, low=1)
    gpus: float | None = setting(
        "GPUs of a run, 0.25 for four runs on one; None: 1 where the cluster has any", None, low=0
    )
    retries: int = setting("how often a unit that was pre-empted or lost begins again", 5, low=0)


@dataclasses.dataclass(frozen=True)
class _Task:
    """A unit that was handed to Ray."""

    unit: Unit
    log_start: int


@dataclasses.dataclass(frozen=True)
class RayTasks:
    """At most `workers` units at a time, as tasks of the cluster that this process is connected
    to.
    """

    config: Config
    workers: int
    gpus: float
    ray: Any  # the module

    def run(self, units: Sequence[Unit]) -> Generator[Outcome, None, None]:
        """Hands units to Ray as soon as they may begin. Tasks that are left when the iterator is
        closed are cancelled: their runs save first.
        """
        tries = {unit.names: 0 for unit in units}
        waiting, tasks = list(units), dict[Any, _Task]()
        begin = self.ray.remote(process.finish).options(
            num_cpus=self.config.cpus, num_gpus=self.gpus, max_retries=0
        )
        try:
            while waiting or tasks:
                while len(tasks) < self.workers:
                    if not (unit := next_ready(waiting, is_idle=not tasks)):
                        break
                    waiting.remove(unit)
                    reference, task = self._begin(begin, unit)
                    tasks[reference] = task
                ended, _ = self.ray.wait(list(tasks), timeout=LOOK_SECONDS)
                for reference in ended:
                    task = tasks.pop(reference)
                    outcome = self._outcome(reference, task)
                    if outcome.code in AGAIN and tries[task.unit.names] < self.config.retries:
                        tries[task.unit.names] += 1
                        waiting.insert(0, task.unit)
                    else:
                        yield outcome
        finally:
            self._cancel(list(tasks))

    def _begin(self, begin: Any, unit: Unit) -> tuple[Any, _Task]:
        with explained(unit.log, "write"):
            make_folder(unit.log.parent)
            unit.log.touch()
        task = _Task(unit, unit.log.stat().st_size)
        sent = {name: value for name, value in os.environ.items() if name.startswith(SENT)}
        if 0 < self.gpus < 1:  # JAX takes three quarters of a GPU, whoever else is on it
            sent.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 * self.gpus:.3f}")
        log, here = str(unit.log.absolute()), str(Path.cwd())
        words = (unit.command, log, here, sent, self.config.cpus, GRACE_SECONDS, str(CHILD))
        return begin.remote(*words), task

    def _outcome(self, reference: Any, task: _Task) -> Outcome:
        last = said_since(task.unit.log, task.log_start)
        try:
            code, host = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            return Outcome(task.unit, 1, f"Ray could not run it: {error.cause}")
        except self.ray.exceptions.RayError as error:  # the worker, its node, or its memory
            words = f"lost with its worker ({type(error).__name__} of Ray)"
            return Outcome(
                task.unit, -signal.SIGKILL, f"{words}; it last said: {last}" if last else words
            )
        return Outcome(task.unit, code, f"{explain(code, last)} (on {host})")

    def _cancel(self, references: Sequence[Any]) -> None:
        """Cancels what is left, and waits until the runs have saved; then kills."""
        for is_forced, patience in ((False, GRACE_SECONDS + 5), (True, 5.0)):
            if not references:
                return
            for reference in references:
                self.ray.cancel(reference, force=is_forced)
            _, references = self.ray.wait(references, num_returns=len(references), timeout=patience)


def make(config: Config, platform: str) -> RayTasks:
    """The executor, connected until this process ends. Raises UserError where there is no Ray, no
    cluster at the address, or no node with room for a run.
    """
    del platform  # that of the launcher, which trains nothing
    address = config.address or os.environ.get("RAY_ADDRESS")
    # Ray reads these as it is imported
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", CONNECT_TRIES)
    ray = imported("ray", "ray", "--executor=ray")
    if not ray.is_initialized():
        _connect(ray, address)
    ray.cloudpickle.register_pickle_by_value(process)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = config.gpus
    if gpus is None:
        gpus = float(any(node.get("GPU", 0) >= 1 for node in nodes))
    room = sum(_room(node, config.cpus, gpus) for node in nodes)
    if not (config.workers or room):
        raise UserError(
            f"--executor=ray: no node of the cluster has {config.cpus} cores and {gpus:g} GPUs for "
            "a run; ask for less by --executor.cpus and --executor.gpus, or give "
            "--executor.workers=N where such nodes will join"
        )
    return RayTasks(config, config.workers or room, gpus, ray)


def _room(node: dict[str, float], cpus: int, gpus: float) -> int:
    """How many runs fit on a node."""
    rooms = [node.get("CPU", 0) // cpus]
    if gpus:
        rooms.append(node.get("GPU", 0) // gpus)
    return int(min(rooms))


def _connect(ray: Any, address: str | None) -> None:
    """Connects this process to the cluster of an address; None: begins one on this machine."""
    own = {
        "num_cpus": len(usable_cores()),
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
    }
    if address not in (None, "auto", "local"):
        _reach(address)
    try:
        with _handlers_kept():
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **(own if address in (None, "local") else {}),
            )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        said = TOKEN if "InvalidAuthToken" in f"{error}{error.__cause__}" else _one_line(error)
        where = f"the cluster at {address}" if address else "a cluster of this machine"
        raise UserError(f"--executor=ray cannot connect to {where}: {said}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _reach(address: str) -> None:
    """Raises UserError where nobody answers at an address."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if not (host and port.isdigit()):
        raise UserError(
            f"--executor.address={address} is no address of a Ray cluster; give host:port, as "
            "10.0.0.1:6379, or auto for the one that runs on this machine"
        )
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--executor=ray cannot reach a cluster at {address} ({error}); see `ray status` on "
            "its head node, or leave the address out for a cluster of this machine alone"
        ) from error


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Puts back the handlers of signals, which Ray replaces by its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in NUMBERS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


EXECUTOR = Executor(Config, make)
