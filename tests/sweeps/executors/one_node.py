"""A Slurm cluster of this machine alone, with a configuration and daemons of its own."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIG = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
SlurmctldPort={port}
SlurmdPort={port_d}
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MinJobAge=10
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1
JobRequeue=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:8
"""


def is_installed() -> bool:
    """Whether the daemons are, and this user may start them."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    return os.geteuid() == 0 and all(shutil.which(name, path=path) for name in DAEMONS)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of Slurm's commands, for as long as the daemons run."""
    host = socket.gethostname().partition(".")[0]
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(0o755)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    port, port_d = _free_ports()
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            host=host,
            user="root",
            folder=folder,
            port=port,
            port_d=port_d,
            cpus=os.cpu_count(),
        )
    )
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munge += [f"--{name}-file={folder}/munge/{name}" for name in ("log", "pid", "seed")]
    environment = os.environ | {
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
        "SLURM_CONF": str(config),
    }
    with contextlib.ExitStack() as stack:
        for command in (
            [*munge, f"--socket={folder}/munge/socket"],
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", host],
        ):
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(_stop, process)
            if command[0] == "munged":
                _wait(lambda: (folder / "munge" / "socket").exists())
        _wait(lambda: "idle" in _ask(environment, "sinfo", "--noheader", "--format=%t"))
        yield environment


def _ask(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    ).stdout


def _wait(holds, seconds: float = 30) -> None:
    patience = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < patience, "Slurm does not start"
        time.sleep(0.05)


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()
    process.wait()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
