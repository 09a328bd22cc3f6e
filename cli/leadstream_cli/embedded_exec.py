"""Becomes the server process, and makes sure that the server never outlives the process that owns it.

Runs as a file under `python -I -S` between the owner and the server: a `preexec_fn` would run Python code between
fork and exec of a threaded process, which may deadlock. It sets the tie to the owner, then execs the server, so the
server keeps this process's pid and its inherited lock. Uses the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_S = 0.5
EXIT_OWNER_GONE = 75


def tie_by_death_signal(owner: int) -> None:
    """Linux: the kernel sends SIGKILL when the thread that started us ends; the setting survives exec (prctl(2)).

    The owner may have died before the call, in which case the signal never comes: we have another parent then.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != owner:
        os._exit(EXIT_OWNER_GONE)


def tie_by_watchdog(owner_pipe: int, lock: int) -> None:
    """Anywhere: forks a child that kills its parent, the server to be, once the owner's end of the pipe is closed.

    The watchdog is the server's child, so `getppid` tells whether the pid still means that server.
    """
    server = os.getpid()
    if os.fork() != 0:
        os.close(owner_pipe)
        return
    os.close(lock)  # only owner and server may keep the directory locked
    quiet = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(quiet, standard)
    watch(server, owner_pipe)
    os._exit(0)


def watch(server: int, owner_pipe: int) -> None:
    """Returns once the server is gone; kills it with SIGKILL when the pipe reports that the owner is gone."""
    while os.getppid() == server:
        readable, _, _ = select.select([owner_pipe], [], [], _POLL_S)
        if readable and os.getppid() == server:
            os.kill(server, signal.SIGKILL)
            return


def main(argv: Sequence[str]) -> None:
    """Arguments: pid of the owner, lock descriptor, pipe descriptor or -1 for the death signal, then the command."""
    owner, lock, owner_pipe = (int(item) for item in argv[:3])
    command = list(argv[3:])
    if owner_pipe >= 0:
        tie_by_watchdog(owner_pipe, lock)
    else:
        tie_by_death_signal(owner)
    os.execv(command[0], command)  # noqa: S606  the server must be this very process; no shell on purpose


if __name__ == "__main__":
    main(sys.argv[1:])
