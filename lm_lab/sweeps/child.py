"""python child.py <launcher's pid> <cores, as in 0,1; empty: any> <command ...>: becomes the
command, pinned to cores and tied to the launcher's life.

The command is pinned to its cores before it starts, because XLA sizes its thread pool by the cores
it may use at start. On Linux the kernel kills it when its launcher dies, however that dies (kill -9
included): no orphan goes on writing into a run that the next launch retries. The standard library
only: it starts in about 10 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; survives execve


def main(launcher: int, cores: str, command: list[str]) -> None:
    """Becomes the command, pinned to the cores, and dies with the launcher."""
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launcher:  # it died before the line above could tell
        sys.exit("the launcher of the sweep is gone")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
