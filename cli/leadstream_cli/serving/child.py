"""What happens in a child between the fork and its service. Linux only: prctl(2)."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import NoReturn

from leadstream_cli.errors_text import FAILED
from leadstream_cli.serving.children import Child
from leadstream_events.runtime import process

PARENT_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # linux/prctl.h


def become(child: Child, siblings: Sequence[Child], parent: int, told_by: Mapping[str, str]) -> NoReturn:
    """Runs the service to its end and exits with its code; never returns into the parent's code.

    Called with `PARENT_SIGNALS` blocked, so that none of them is handled as the parent would.
    """
    code = FAILED
    try:
        _leave_the_parent(parent, child.name)
        _close_what_others_listen_on(child, siblings)
        os.environ.pop("WATCHDOG_PID", None)
        os.environ.update(told_by)
        gc.enable()
        code = process.exit_code(child.name, child.work)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(code)


def _leave_the_parent(parent: int, name: str) -> None:
    """Own name, signals and process group (Ctrl-C comes to the parent alone), and an end when the parent ends.

    SIGTERM, not SIGKILL: what was begun is finished, so a parent that was killed makes no mail go twice.
    """
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    for number in PARENT_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)  # for ps and top; the kernel cuts it at 15 bytes
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PARENT_SIGNALS)
    if os.getppid() != parent:  # it ended before the call, so the signal never comes
        os._exit(FAILED)


def _close_what_others_listen_on(child: Child, siblings: Sequence[Child]) -> None:
    """An address must be free again as soon as whoever serves it has ended."""
    for other in siblings:
        if other.listening is not None and other.listening is not child.listening:
            other.listening.sock.close()
